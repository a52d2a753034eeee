"""The commutator along driven plans."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from commutant.commutator import GaussianField, Guidance, Plan, PointwiseField, RectifiedFlow, along, commutator_norm
from commutant.commutator.euler import finish, preview, trajectory

from .worlds import SIDE, TwoSizes, Wavy, normal, paths, relative, schedules, seeds, shifted

FLOW = RectifiedFlow()
PAPER = Guidance("exact", 5, 0.04)


@settings(max_examples=20)
@given(data=st.data(), path=paths, operator=st.sampled_from(["strided", "mean"]), seed=seeds)
def test_without_guidance_it_starts_at_the_commutator(data, path, operator, seed):
    times = data.draw(schedules(path))
    plan = Plan(switch=data.draw(st.integers(1, len(times) - 2)), operator=operator)
    noise = times[0] * normal(seed, 2, 1, SIDE, SIDE)
    report = along(plan, path, Wavy(), noise, times)
    assert report.times == tuple(times[plan.switch : -1])
    x, (op,) = trajectory(path, Wavy(), noise, times)[plan.switch], plan.operators()
    assert relative(report.absolute[0], commutator_norm(op, Wavy(), path)(x, report.times[0])) <= 1e-8


def test_where_field_and_operator_commute_it_stays_zero():
    noise, times = normal(0, 2, 1, SIDE, SIDE), shifted(8)
    pointwise = PointwiseField(lambda x, t: x / (1 + x * x))
    assert not along(Plan(switch=3, operator="strided"), FLOW, pointwise, noise, times).absolute.any()
    assert along(Plan(switch=3, operator="mean"), FLOW, pointwise, noise, times).absolute.min() > 0.01


@pytest.mark.parametrize("form", ["denoised", "output"])
def test_at_matched_time_too(form):
    """White data whose spread is known at both sizes: velocities differ by the scale and the state of the transport."""
    noise, times = normal(0, 2, 1, SIDE, SIDE), shifted(8)
    told = TwoSizes(GaussianField(0.3, 0.8), GaussianField(0.3, 0.4), SIDE)
    assert along(Plan(switch=3, operator="mean"), FLOW, told, noise, times, form=form).absolute.max() <= 1e-12
    untold = GaussianField(0.3, 0.8)
    assert along(Plan(switch=3, operator="mean"), FLOW, untold, noise, times, form=form).absolute.min() > 0.01


@pytest.mark.parametrize("guidance", [None, PAPER, Guidance("lagged", 2, 0.1)], ids=["free", "exact", "lagged"])
def test_in_the_paper_form_it_is_the_difference_of_two_velocities(guidance):
    """Two plain loops: x runs on at high resolution, y from the argmin phase, corrected before each of its steps."""
    times, switch, field = shifted(8), 3, Wavy()
    plan = Plan(switch=switch, operator="strided", selection="argmin", guidance=guidance)
    noise = normal(4, 1, 1, SIDE, SIDE)

    def velocity(x, t):
        return (x - field.denoised(x, t)) / t

    x = trajectory(FLOW, field, noise, times)[switch]
    v_ref = velocity(x, times[switch])
    phase = min(plan.operators(), key=lambda op: np.linalg.norm(op(v_ref) - velocity(op(x), times[switch])))
    y, slow = phase(x), []
    for k, (t, t_next) in enumerate(zip(times[switch:-1], times[switch + 1 :])):
        v = velocity(y, t)
        if guidance is not None and k < guidance.steps:
            y = y + guidance.weight * (v - phase(v_ref))  # the paper's u = image - noise is -v
            v = velocity(y, t) if guidance.kind == "exact" else v
        slow.append(np.linalg.norm(phase(velocity(x, t)) - velocity(y, t)))
        y, x = y + (t_next - t) * v, x + (t_next - t) * velocity(x, t)
    report = along(plan, FLOW, field, noise, times, form="output")
    assert relative(report.absolute[:, 0], slow) <= 1e-9
    assert relative(preview(plan, FLOW, field, noise, times).latent, y) <= 1e-9
    assert relative(along(plan, FLOW, field, noise, times).absolute[:, 0], slow) > 0.01


def test_the_paper_statement_on_a_field_of_neighbours():
    """From t_D to t_{D+m} the norm rises without guidance and falls with it (arXiv 2604.09227), and the preview ends
    nearer to the final.

    That is the norm in denoised predictions. In velocities it rises with guidance, too: v = (x - x0hat) / t has the
    state in it, which guidance moves. Guidance of the other sign makes the velocities agree and the images differ.
    """
    noise, times, m = normal(1, 24, 1, 16, 16), shifted(30), PAPER.steps
    free = Plan(switch=10, operator="strided", selection="argmin")
    guided = free.replaced(guidance=PAPER)

    def change(plan, form, alternative):
        report = along(plan, FLOW, Wavy(), noise, times, form=form)
        return report.change(last=m, alternative=alternative).p_value

    def distance(plan):
        made = preview(plan, FLOW, Wavy(), noise, times)
        return np.linalg.norm(made.latent - made.transport.operator(finish(FLOW, Wavy(), noise, times)))

    assert change(free, "denoised", "greater") <= 1e-6
    assert change(guided, "denoised", "less") <= 1e-6
    assert change(guided, "denoised", "greater") > 0.99
    assert change(guided, "output", "greater") <= 1e-6
    stronger = free.replaced(guidance=Guidance("exact", 5, 0.1))
    assert distance(stronger) < distance(guided) < distance(free)


def test_it_is_named_after_its_plan():
    report = along(Plan(switch=2, guidance=PAPER), FLOW, Wavy(), normal(0, 2, 1, SIDE, SIDE), shifted(5))
    assert report.name == "custom: mean, exact guidance"


def test_refusals():
    noise, times = normal(0, 1, 1, SIDE, SIDE), shifted(8)
    with pytest.raises(ValueError, match="form must be one of"):
        along(Plan(switch=2), FLOW, Wavy(), noise, times, form="velocity")
    with pytest.raises(ValueError, match="a tail of 3 steps has no matched"):
        along(Plan(switch=2, tail=3), FLOW, Wavy(), noise, times)
    assert along(Plan(switch=2, tail=6), FLOW, Wavy(), noise, times).absolute.shape == (6, 1)
    with pytest.raises(ValueError, match="the plan's head runs on 5 steps"):
        along(Plan(switch=2, head_steps=5), FLOW, Wavy(), noise, times)
