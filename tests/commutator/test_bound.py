"""The deviation bounds hold, are attained, and fail when a factor is missing."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from commutant.commutator import (
    PATHS,
    ConvolutionField,
    GaussianField,
    PointwiseField,
    RectifiedFlow,
    StationaryGaussianField,
    Transport,
    VarianceExploding,
    commutator_report,
    deviation_bound,
    flow_deviation_bound,
)
from commutant.commutator.euler import trajectory
from commutant.operators import BlockMean, StridedSelection

from .worlds import SELECTIONS, SIDE, SMOOTH, TwoSizes, normal, paths, schedules, seeds

FLOW, VE = RectifiedFlow(), VarianceExploding()
STENCIL = np.array([[0.0, 0.3, 0.0], [0.2, 0.5, 0.1], [0.0, 0.1, 0.0]])


def gaussian(path, size):
    field = GaussianField(0.3, 0.8, path)
    return field, field.lipschitz


def convolution(path, size):
    field = ConvolutionField(lambda t: STENCIL * (1.5 - t / (1 + t)))
    return field, lambda t: float(np.abs(field.response(t, *size)).max())


def pointwise(path, size):
    """sin(a x) / a has slope at most 1 and attains it."""
    return PointwiseField(lambda x, t: 1.2 * np.sin(3 * x) / 3 + 0.1), lambda t: 1.2


def stationary(path, size):
    field = StationaryGaussianField(lambda i, j, h, w: 20.0 / (1.0 + i**2 + j**2), path)
    return field, lambda t: float(field.wiener(t, *size).max())


def driven(op, path, field, low_field, x, times):
    """(deviations per time, commutator norms, low-resolution times) of Euler runs of both fields from one start."""
    both = TwoSizes(field, low_field, x.shape[-1])
    transport = Transport.of(op, path, x.shape, "matched")
    lows, states = [transport.time_of(t) for t in times], trajectory(path, field, x, times)
    low = trajectory(path, low_field, transport.state(x, times[0]), lows)
    moved = [transport.state(state, t) for state, t in zip(states, times)]
    deviations = np.array([np.linalg.norm((y - z).reshape(len(y), -1), axis=1) for y, z in zip(low, moved)])
    return deviations, commutator_report(op, both, path, states[:-1], times[:-1]).absolute, lows


def excess(deviations, bound) -> float:
    """How far the deviations exceed the bound, in units of the largest; rounding alone is no deviation."""
    return float((deviations - bound).max() / max(deviations.max(), 1e-3))


@settings(max_examples=60)
@given(
    data=st.data(),
    path=paths,
    world=st.sampled_from([gaussian, convolution, pointwise, stationary]),
    op=st.sampled_from(SELECTIONS + SMOOTH),
    seed=seeds,
)
def test_the_bound_holds_at_every_step(data, path, world, op, seed):
    times = data.draw(schedules(path))
    if path.name == "variance-preserving":
        times = [0.99 * t for t in times]  # at alpha = 0 its output determines no denoised prediction
    x = max(times[0], 1.0) * normal(seed, 2, 1, SIDE, SIDE)
    field, lipschitz = world(path, op.out_shape(x.shape)[-2:])
    deviations, norms, lows = driven(op, path, field, field, x, times)
    bound = deviation_bound(norms, lows, [lipschitz(t) for t in lows[:-1]], path)
    assert bound.shape == deviations.shape
    assert excess(deviations, bound) <= 1e-9


def amplifying(k, offset):
    """High: k u + offset, low: k u, on any path in u = x / alpha: a constant commutator that K = k carries on."""

    def of(path, shift):
        return PointwiseField(lambda x, t: k * x / path.alpha(t) + shift)

    return lambda path: (of(path, offset), of(path, 0.0))


@pytest.mark.parametrize("path", PATHS.values(), ids=lambda p: p.name)
@pytest.mark.parametrize("op", [StridedSelection(2), BlockMean(2)], ids=repr)
@pytest.mark.parametrize("k", [0.0, 0.5, 1.0, 3.0])
def test_the_bound_is_attained_by_a_constant_commutator(path, op, k):
    times = [u * (5.0 if path == VE else 1.0) for u in (0.9, 0.7, 0.5, 0.3, 0.1, 0.0)]
    field, low_field = amplifying(k, 0.4)(path)
    deviations, norms, lows = driven(op, path, field, low_field, np.full((1, 1, 4, 4), 0.7), times)
    constants = np.array([k / path.alpha(t) for t in lows[:-1]])
    bound = deviation_bound(norms, lows, constants, path)
    np.testing.assert_allclose(deviations, bound, rtol=1e-10, atol=1e-12)
    if k:
        assert excess(deviations, deviation_bound(norms, lows, constants / 2, path)) > 0.01
    if k > 1:  # the sum of the commutators, without what amplifies them
        assert (
            excess(deviations, deviation_bound(norms, lows, 1 / np.array([path.alpha(t) for t in lows[:-1]]), path))
            > 0.1
        )
    assert excess(deviations, deviation_bound(norms / 2, lows, constants, path)) > 0.1


def test_no_commutator_no_deviation():
    times = [0.9, 0.5, 0.2, 0.0]
    deviations, norms, lows = driven(
        StridedSelection(2), FLOW, *2 * (gaussian(FLOW, None)[0],), normal(0, 2, 1, 4, 4), times
    )
    assert not deviation_bound(norms, lows, 100.0, FLOW).any()
    assert not flow_deviation_bound(norms, lows, 100.0, FLOW).any()
    assert deviations.max() <= 1e-14


def gaussian_flow(field, path, x, times):
    """The exact flow of white data: u = m + sqrt((S^2 + s^2) / (S^2 + s_0^2)) (u_0 - m), with u = x / alpha."""

    def widths(t):
        return math.sqrt(field.std**2 + (path.sigma(t) / path.alpha(t)) ** 2)

    u = x / path.alpha(times[0])
    return [path.alpha(t) * (field.mean + widths(t) / widths(times[0]) * (u - field.mean)) for t in times]


def exact_gaussian(op, path, x, times, *, fine=200):
    """Deviations of exact flows at `times`, and upper bounds of commutator and Lipschitz constant between them."""
    field = GaussianField(0.3, 0.8, path)
    transport = Transport.of(op, path, x.shape, "matched")
    lows = [transport.time_of(t) for t in times]
    high = gaussian_flow(field, path, x, times)
    low = gaussian_flow(field, path, transport.state(x, times[0]), lows)
    deviations = [np.linalg.norm(y - transport.state(z, t)) for y, z, t in zip(low, high, times)]
    norms, constants = [], []
    for a, b in pairwise(times):
        inner = [a + (b - a) * i / fine for i in range(fine + 1)]
        inside = gaussian_flow(field, path, x, [times[0], *inner])[1:]
        norms.append(1.001 * commutator_report(op, field, path, inside, inner).absolute.max())
        constants.append(1.001 * max(field.lipschitz(transport.time_of(t)) for t in inner))
    return np.array(deviations), norms, lows, constants


@settings(max_examples=10)
@given(path=paths, op=st.sampled_from([BlockMean(2), BlockMean(3)]), seed=seeds)
def test_the_bound_holds_for_exact_flows(path, op, seed):
    times = [u * (5.0 if path == VE else 1.0) for u in (0.95, 0.8, 0.6, 0.4, 0.2, 0.05)]
    deviations, norms, lows, constants = exact_gaussian(op, path, normal(seed, 1, 1, SIDE, SIDE), times)
    bound = flow_deviation_bound(norms, lows, constants, path)
    assert np.isfinite(bound).all()
    assert excess(deviations, bound) <= 1e-9


@pytest.mark.parametrize("k", [0.0, 0.5, 1.0, 3.0])
def test_the_flow_bound_is_attained_by_a_constant_commutator(k):
    """de/dl = (k - 1) e - C from e = 0: e = C (exp((k - 1) l) - 1) / (k - 1), checked with many Euler steps."""
    times, offset = [4.0, 2.0, 1.0, 0.5], 0.4
    bound = flow_deviation_bound([offset] * 3, times, k, VE)
    lengths = np.log(times[0] / np.array(times))
    exact = offset * (np.expm1((k - 1) * lengths) / (k - 1) if k != 1 else lengths)
    np.testing.assert_allclose(bound, exact, rtol=1e-12)
    fine = list(np.geomspace(4.0, 0.5, 3 * 4000 + 1))
    field, low_field = amplifying(k, offset)(VE)
    small = driven(StridedSelection(2), VE, field, low_field, np.full((1, 1, 2, 2), 0.7), fine)[0][::4000, 0]
    np.testing.assert_allclose(small, exact, rtol=2e-3)
    if k:
        assert excess(small, flow_deviation_bound([offset] * 3, times, k / 2, VE)) > 0.01
    if k > 1:  # the integral without its exponential
        assert excess(small, offset * lengths) > 0.1


def test_the_last_step_and_the_first():
    """To sigma = 0 and from alpha = 0: finite where the field contracts, infinite where it may amplify without end."""
    ends = flow_deviation_bound([1.0, 1.0], [1.0, 0.5, 0.0], 0.5, VE)
    assert ends[-1] == pytest.approx(2.0)
    assert math.isinf(flow_deviation_bound([1.0, 1.0], [1.0, 0.5, 0.0], 1.0, VE)[-1])
    assert flow_deviation_bound([0.0, 1.0], [1.0, 0.5, 0.2], 0.9, FLOW)[1] == 0.0
    assert flow_deviation_bound([1.0], [1.0, 0.5], 1.0, FLOW)[-1] == pytest.approx(0.5 / (1 - 0.5))
    assert math.isinf(flow_deviation_bound([1.0], [1.0, 0.5], 3.0, FLOW)[-1])
    assert deviation_bound([1.0], [1.0, 0.5], 3.0, FLOW)[-1] == 0.5  # a step of Euler from the common start
    with_more_steps = [deviation_bound(np.ones(n), list(np.linspace(2, 1, n + 1)), 3.0, VE)[-1] for n in (4, 400)]
    assert with_more_steps[0] < with_more_steps[1] < flow_deviation_bound([1.0], [2.0, 1.0], 3.0, VE)[-1]


def test_bounds_are_per_sample():
    norms = np.array([[1.0, 0.0], [2.0, 0.0], [0.0, 1.0]])
    together = deviation_bound(norms, [3.0, 2.0, 1.0, 0.0], [0.5, 2.0, 1.0], VE)
    alone = [deviation_bound(norms[:, b], [3.0, 2.0, 1.0, 0.0], [0.5, 2.0, 1.0], VE) for b in range(2)]
    assert np.array_equal(together, np.stack(alone, axis=1))
    assert not together[0].any()


@pytest.mark.parametrize("bound", [deviation_bound, flow_deviation_bound])
@pytest.mark.parametrize(
    ("norms", "times", "lipschitz", "match"),
    [
        ([1.0], [1.0, 0.5, 0.0], 1.0, "one norm per step"),
        (1.0, [1.0, 0.5], 1.0, "one norm per step"),
        ([], [1.0], 1.0, "one norm per step"),
        ([1.0, 1.0], [1.0, 0.5, 0.0], [1.0], "one Lipschitz constant"),
        ([-1.0], [1.0, 0.5], 1.0, "norms are finite and not negative"),
        ([math.nan], [1.0, 0.5], 1.0, "norms are finite and not negative"),
        ([1.0], [1.0, 0.5], -1.0, "Lipschitz constants are finite"),
        ([1.0], [0.5, 0.5], 1.0, "decrease"),
    ],
)
def test_refusals(bound, norms, times, lipschitz, match):
    with pytest.raises(ValueError, match=match):
        bound(norms, times, lipschitz, VE)
