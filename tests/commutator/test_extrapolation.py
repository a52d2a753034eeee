"""Second order by extrapolated answers, against DPM-Solver++(2M) as its paper writes it; heads that settle."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from commutant.commutator import (
    GaussianField,
    Plan,
    RectifiedFlow,
    VarianceExploding,
    VariancePreserving,
    euler,
    shown,
)
from commutant.commutator.steps import Settling
from commutant.operators import StridedSelection

from .plans import low
from .worlds import SIDE, Wavy, normal, relative, shifted

PATHS = {"flow": (RectifiedFlow(), 0.98), "ve": (VarianceExploding(), 10.0), "vp": (VariancePreserving(), 0.99)}


def multistep(path, field, x, times, previous=None, order=2):
    """Algorithm 2 of Lu et al. 2022 (data prediction, second order, multistep), the last step of first order."""
    for t, t_next in itertools.pairwise(times):
        denoised = field.denoised(x, t)
        sigma, sigma_next, alpha_next = path.sigma(t), path.sigma(t_next), path.alpha(t_next)
        if sigma_next == 0:
            x = alpha_next * denoised
            continue
        h = math.log(alpha_next / sigma_next) - math.log(path.alpha(t) / sigma)
        mixed = denoised
        if previous is not None and order == 2:
            r = (math.log(path.alpha(t) / sigma) - previous[1]) / h
            mixed = (1 + 1 / (2 * r)) * denoised - 1 / (2 * r) * previous[0]
        previous = denoised, math.log(path.alpha(t) / sigma)
        x = sigma_next / sigma * x - alpha_next * math.expm1(-h) * mixed
    return x


def times_of(name: str, steps: int) -> list[float]:
    top = PATHS[name][1]
    return [top * t for t in shifted(steps)]


@pytest.mark.parametrize("name", PATHS)
@pytest.mark.parametrize("order", [1, 2])
def test_fewer_steps_of_either_order_are_the_solver_of_the_paper(name, order):
    path, field, times = PATHS[name][0], Wavy(), times_of(name, 7)
    noise = normal(1, 2, 1, SIDE, SIDE) * times[0]
    got = euler.preview(Plan.fewer(7, order=order), path, field, noise, times).latent
    assert relative(got, multistep(path, field, noise, times, order=order)) < 1e-10
    assert relative(got, multistep(path, field, noise, times, order=3 - order)) > 1e-4  # the comparison can fail


def test_the_history_goes_through_the_switch():
    """A pointwise field commutes with a selection: the tail is a second-order run seen through it, history included."""

    class Pointwise:
        def denoised(self, x, t):
            return np.tanh(x) * (1 - t)

    path, times, switch = RectifiedFlow(), times_of("flow", 9), 4
    noise = normal(2, 1, 1, SIDE, SIDE)
    plan = low(switch, operator="strided", time="same", order=2)
    got = euler.preview(plan, path, Pointwise(), noise, times).latent
    states = euler.trajectory(path, Pointwise(), noise, times[: switch + 1])
    t_last = times[switch - 1]
    last = Pointwise().denoised(states[switch - 1], t_last), math.log((1 - t_last) / t_last)
    wanted = multistep(path, Pointwise(), states[switch], times[switch:], last)
    assert relative(got, StridedSelection(2)(wanted)) < 1e-10
    assert relative(got, StridedSelection(2)(multistep(path, Pointwise(), states[switch], times[switch:]))) > 1e-5


def test_second_order_converges_faster():
    path, field = RectifiedFlow(), GaussianField(mean=0.3, std=0.5)
    noise = normal(3, 1, 1, SIDE, SIDE)
    exact = euler.finish(path, field, noise, times_of("flow", 4000))

    def error(steps, order):
        plan = Plan.fewer(steps, order=order)
        return relative(euler.preview(plan, path, field, noise, times_of("flow", steps)).latent, exact)

    assert error(40, 2) < error(40, 1) / 3
    assert error(20, 1) / error(40, 1) == pytest.approx(2, abs=0.5)
    assert error(20, 2) / error(40, 2) > 2.7


def test_what_is_shown_is_the_denoised_prediction():
    path, times = RectifiedFlow(), shifted(6)
    noise = normal(4, 1, 1, SIDE, SIDE)
    result = euler.preview(Plan.live(3), path, Wavy(), noise, times)
    state = euler.trajectory(path, Wavy(), noise, times[:3])[-1]
    assert relative(result.latent, Wavy().denoised(state, times[2])) < 1e-12
    assert (result.high_evaluations, result.low_evaluations) == (3, 0)
    headless = euler.record(low(2), path, Wavy(), noise, times)[0]
    with pytest.raises(ValueError, match="no answer at the switch"):
        shown(path, headless)


def test_a_head_settles_between_two_evaluations():
    path = RectifiedFlow()
    x = normal(5, 2, 1, 4, 4)

    def asked(threshold, factors):
        watch = Settling(threshold, path)
        return [watch.settled(-scale * np.ones_like(x) + (x - x), np.zeros_like(x), 1.0) for scale in factors]

    # denoised = x - t v = the factor itself: it moves by 50%, then 25%, then 1%
    assert asked(0.02, [1.0, 2.0, 1.6, 1.616]) == [False, False, False, True]
    assert asked(0.3, [1.0, 2.0, 1.6, 1.616]) == [False, False, True, True]
    assert asked(None, [1.0, 1.0]) == [False, False]


def test_a_batch_settles_when_all_of_it_has():
    path, ones = RectifiedFlow(), np.ones((2, 1, 4, 4))
    watch = Settling(0.1, path)
    assert not watch.settled(-ones, 0 * ones, 1.0)
    one_moves = ones * np.array([1.01, 2.0]).reshape(2, 1, 1, 1)
    assert not watch.settled(-one_moves, 0 * ones, 1.0)
    assert watch.settled(-one_moves, 0 * ones, 1.0)
