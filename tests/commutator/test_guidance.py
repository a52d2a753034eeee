"""Guidance against loops written from its formulas."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from commutant.commutator import (
    Advance,
    Enter,
    Evaluate,
    Guidance,
    Plan,
    Query,
    RectifiedFlow,
    Stage,
    VarianceExploding,
    VariancePreserving,
    euler,
    stage_times,
)
from commutant.commutator.euler import euler_step

from .plans import first_stage, guidances, low
from .worlds import SIDE, Counting, Wavy, normal, paths, relative, schedules, seeds, shifted

TIMES = shifted(8)
FLOW = RectifiedFlow()


def reference_of(plan, path, field, head):
    """(state, time, denoised) of the high-resolution answer that guides."""
    at = plan.head if plan.stages[0].guidance.reference == "switch" else plan.head - 1
    x = head.state if at == plan.head else head.states[at]
    return x, head.times[at], field.denoised(x, head.times[at])


def by_hand(plan, path, field, result):
    """The guided tail, written from the formulas: one loop, no conversation."""
    head, transport, g = result.head, result.transport, plan.stages[0].guidance
    x_ref, t_ref, denoised_ref = reference_of(plan, path, field, head)
    moved = transport.time_of(t_ref)
    target = transport.operator(denoised_ref)
    velocity = path.output(target, transport.state(x_ref, t_ref, denoised_ref), moved)  # D v where the gain is 1
    times = stage_times(transport, head.times, plan.head, plan.stages[0].steps)
    t_high = head.times[plan.head]
    y = transport.state(head.state, t_high, field.denoised(head.state, t_high))
    defect = target - field.denoised(y, times[0])
    for i, (t, t_next) in enumerate(pairwise(times)):
        weight = g.weight * (1 if g.decay == "constant" else 1 - i / g.steps) if i < g.steps else 0.0
        answer = path.output(field.denoised(y, t), y, t)
        if weight and g.kind in ("exact", "lagged"):
            sign = 1 if path.name == "variance-exploding" else -1  # of what the model predicts, seen from the image
            y = y + weight * sign * (velocity - answer)
            if g.kind == "exact":
                answer = path.output(field.denoised(y, t), y, t)
        elif weight and g.kind == "anchor":
            answer = path.output((1 - weight) * field.denoised(y, t) + weight * target, y, t)
        elif weight:
            answer = path.output(field.denoised(y, t) + weight * defect, y, t)
        y = euler_step(path, answer, y, t, t_next)
    return y


@st.composite
def guided(draw, path):
    """(plan, schedule) with guidance of any kind through any isotropic operator."""
    times = draw(schedules(path))
    switch = draw(st.integers(1, len(times) - 2))
    operator, scale = draw(st.sampled_from([("strided", "2"), ("strided", "3"), ("mean", "2"), ("spectral", "4/3")]))
    selection = draw(st.sampled_from(["first", "argmin", "random"])) if operator == "strided" else "first"
    tail_steps, time = draw(st.none() | st.integers(1, 9)), draw(st.sampled_from(["matched", "same"]))
    guidance = draw(guidances())
    return Plan(switch, (Stage(scale, tail_steps, operator, selection, 0, time, guidance),)), times


@settings(max_examples=150)
@given(path=paths, data=st.data(), seed=seeds)
def test_every_kind_equals_its_loop(path, data, seed):
    plan, times = data.draw(guided(path))
    noise = normal(seed, 2, 1, SIDE, SIDE) * path.sigma(times[0])
    result = euler.preview(plan, path, Wavy(), noise, times)
    # Corrections of full strength amplify rounding, late ones of a velocity most.
    assert relative(result.latent, by_hand(plan, path, Wavy(), result)) <= 1e-6


def a_plan(kind, weight=0.3, steps=3, **fields) -> Plan:
    decay, reference = fields.pop("decay", "constant"), fields.pop("reference", "switch")
    return low(3, guidance=Guidance(kind, steps, weight, decay, reference), **fields)


def previewed(plan, field=None):
    return euler.preview(plan, path=FLOW, field=field or Wavy(), noise=normal(1, 2, 1, SIDE, SIDE), times=TIMES)


@pytest.mark.parametrize("kind", ["exact", "lagged", "anchor", "defect"])
def test_the_loop_tells_guidance_apart(kind):
    """The comparison above fails for another weight, number of steps, decay, kind or reference."""
    result = previewed(a_plan(kind))
    assert relative(result.latent, by_hand(a_plan(kind), FLOW, Wavy(), result)) <= 1e-12
    others = [a_plan(kind, weight=0.31), a_plan(kind, steps=2), a_plan(kind, decay="linear")]
    others += [a_plan(other) for other in ("exact", "lagged", "anchor", "defect") if other != kind]
    others += [a_plan(kind, reference="last")]
    for other in others:
        assert relative(result.latent, by_hand(other, FLOW, Wavy(), result)) > 1e-5, other


@pytest.mark.parametrize("kind", ["exact", "lagged", "anchor", "defect"])
def test_a_tiny_weight_tends_to_no_guidance(kind):
    """The preview is differentiable in the weight: a tenth of the weight is a tenth of the effect."""
    free = previewed(low(3)).latent
    effects = [np.abs(previewed(a_plan(kind, weight=w)).latent - free).max() for w in (1e-4, 1e-5, 1e-6)]
    assert effects[0] > 1e-7
    assert effects[0] / effects[1] == pytest.approx(10, rel=0.05)
    assert effects[1] / effects[2] == pytest.approx(10, rel=0.05)


def costs(plan) -> tuple[int, int]:
    result = previewed(plan, Counting(Wavy()))
    return result.high_evaluations, result.low_evaluations


def test_what_each_kind_costs():
    assert costs(low(3)) == (3, 5)
    assert costs(a_plan("exact")) == (4, 5 + 3)
    assert costs(a_plan("exact", steps=100)) == (4, 5 + 5)
    for kind in ("lagged", "anchor", "defect"):
        assert costs(a_plan(kind)) == (4, 5)
    for kind in ("lagged", "anchor", "defect"):
        assert costs(a_plan(kind, reference="last")) == (3, 5)


class Shifted:
    """A field corrected by a fixed addition at low resolution, up to a time."""

    def __init__(self, inner, addition):
        self.inner, self.addition = inner, addition

    def denoised(self, x, t):
        return self.inner.denoised(x, t) + (self.addition if x.shape[-1] != SIDE else 0.0)


@pytest.mark.parametrize("operator", ["mean", "spectral", "strided"])
def test_the_defect_makes_the_corrected_field_commute_at_the_switch(operator):
    """With weight 1 the first answer the sampler gets is A x0hat exactly; and the whole guided tail is the tail of the
    field x0hat(y, t) + [A, x0hat](x_D, t_D), whose commutator at the switch is zero."""
    plan = a_plan("defect", weight=1.0, steps=50, operator=operator)
    result = previewed(plan)
    x, t = result.head.state, TIMES[3]
    transport = result.transport
    y, low_t = transport.state(x, t), transport.time_of(t)
    defect = transport.operator(Wavy().denoised(x, t)) - Wavy().denoised(y, low_t)
    corrected = Shifted(Wavy(), defect)
    assert np.abs(defect).max() > 1e-2
    assert relative(transport.operator(corrected.denoised(x, t)), corrected.denoised(y, low_t)) <= 1e-12
    times = stage_times(transport, TIMES, 3, None)
    assert relative(euler.finish(FLOW, corrected, y, times), result.latent) <= 1e-10
    assert relative(euler.finish(FLOW, Wavy(), y, times), result.latent) > 1e-3
    first = advances(plan, result)[0]
    assert relative(FLOW.denoised(first.output, first.x, low_t), transport.operator(Wavy().denoised(x, t))) <= 1e-12


def advances(plan, result, path=FLOW, schedule=TIMES) -> list[Advance]:
    """What the sampler is told in the tail, in order."""
    conversation, reply, found = first_stage(plan, path, result.head), None, []
    times = stage_times(result.transport, schedule, plan.head, plan.stages[0].steps)
    while True:
        try:
            request = conversation.send(reply)
        except StopIteration:
            return found
        reply = None
        if isinstance(request, Evaluate):
            reply = path.output(Wavy().denoised(request.x, request.t), request.x, request.t)
        elif isinstance(request, Advance):
            i = len(found)
            found.append(request)
            reply = Query(euler_step(path, request.output, request.x, times[i], times[i + 1]), times[i + 1])
        else:
            assert isinstance(request, Enter)


def test_a_full_anchor_says_the_reference():
    result = previewed(a_plan("anchor", weight=1.0, steps=2))
    target = result.transport.operator(Wavy().denoised(result.head.state, TIMES[3]))
    times = stage_times(result.transport, TIMES, 3, None)
    told = advances(a_plan("anchor", weight=1.0, steps=2), result)
    for i, advance in enumerate(told[:2]):
        assert relative(FLOW.denoised(advance.output, advance.x, times[i]), target) <= 1e-12
    assert relative(FLOW.denoised(told[2].output, told[2].x, times[2]), target) > 1e-3


@pytest.mark.parametrize("path", [FLOW, VarianceExploding(), VariancePreserving()], ids=lambda path: path.name)
def test_the_exact_correction_reduces_the_commutator(path):
    """The paper's claim in miniature, on every path: |A x0hat_ref - x0hat(y, t)| at the switch falls, whatever the
    model predicts. A correction with the sign of a velocity towards the noise would make it rise."""
    plan = a_plan("exact", weight=0.1, steps=1, operator="strided", time="same")
    times = [0.9 * t for t in TIMES]  # a model of the noise says nothing about the image at pure noise
    result = euler.preview(plan, path=path, field=Wavy(), noise=normal(1, 2, 1, SIDE, SIDE), times=times)
    x, t = result.head.state, times[3]
    wanted = result.transport.operator(Wavy().denoised(x, t))
    left = np.linalg.norm(wanted - Wavy().denoised(result.transport.state(x, t), t))
    after = advances(plan, result, path, times)[0]
    assert np.linalg.norm(wanted - Wavy().denoised(after.x, t)) < 0.97 * left
    assert relative(after.output, path.output(Wavy().denoised(after.x, t), after.x, t)) <= 1e-12
