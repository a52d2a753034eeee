"""The low-resolution state that enters step D is the transport of the high-resolution state."""

from __future__ import annotations

from fractions import Fraction

import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from hypothesis import given, settings
from hypothesis import strategies as st

from commutant.adapters.diffusers.schedulers import binding_of
from commutant.adapters.diffusers.stage import Course, Schedules, StageLoop
from commutant.commutator import Transport, evaluation_times, preset
from commutant.operators import StridedSelection

from ..commutator.plans import low
from .replaying import arrived, distance, identity, recorded
from .scheduler_cases import CASES, FLOWS, SchedulerCase

# diffusers calls numpy in ways that numpy is about to change.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

DTYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16)
SOLVERS = (*CASES, *FLOWS)


def flow(shift: float) -> FlowMatchEulerDiscreteScheduler:
    return FlowMatchEulerDiscreteScheduler(shift=shift)


@settings(max_examples=25, deadline=None)
@given(st.sampled_from(DTYPES), st.integers(0, 3), st.integers(2, 12), st.floats(0.5, 6), st.data())
def test_selections_replay_exactly(dtype, phase, steps, shift, data) -> None:
    switch = data.draw(st.integers(0, steps - 1))
    plan = low(switch, operator="strided", time="same")
    replayed, direct = arrived(flow(shift), plan, StridedSelection.family(2)[phase], steps, dtype, seed=steps)
    assert torch.equal(replayed, direct)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(SOLVERS), st.integers(0, 3), st.integers(3, 24), st.data())
def test_selections_replay_exactly_through_every_solver(case: SchedulerCase, phase, steps, data) -> None:
    """Bit for bit, history and fresh noise included, wherever the switch lies: solvers act on each value alone."""
    switch = data.draw(st.integers(0, steps - 1))
    plan = low(switch, operator="strided", time="same")
    operator = StridedSelection.family(2)[phase]
    replayed, direct = arrived(case.make(), plan, operator, steps, torch.float32, steps, case.call)
    assert torch.equal(replayed, direct)


POOLING = st.sampled_from([("mean", Fraction(2)), ("spectral", Fraction(2)), ("spectral", Fraction(4, 3))])


@settings(max_examples=25, deadline=None)
@given(POOLING, st.integers(2, 12), st.floats(0.5, 6), st.data())
def test_means_replay_to_rounding(operator, steps, shift, data) -> None:
    """float32: 2e-5 of the largest value, some twenty roundings of 2^-24 grown by the division by small times."""
    switch = data.draw(st.integers(0, steps - 1))
    plan = low(switch, operator=operator[0], scale=operator[1])
    replayed, direct = arrived(flow(shift), plan, plan.stages[0].candidates(1)[0], steps, torch.float32, seed=steps)
    assert distance(replayed, direct) <= 2e-5


@settings(max_examples=60, deadline=None)
@given(st.sampled_from([c for c in SOLVERS if c.pooled]), POOLING, st.integers(6, 24), st.data())
def test_means_replay_to_rounding_through_every_solver(case: SchedulerCase, operator, steps, data) -> None:
    """At matched time a solver's noise levels all scale by g, and its coefficients are of their ratios."""
    switch = data.draw(st.integers(0, steps // 2))
    tail = data.draw(st.none() | st.integers(2, 4))
    plan = low(switch, operator=operator[0], scale=operator[1], steps=None if case.even_strides else tail)
    replayed, direct = arrived(
        case.make(), plan, plan.stages[0].candidates(1)[0], steps, torch.float32, steps, case.call
    )
    assert distance(replayed, direct) <= case.tolerance


def test_half_precision_means_replay_to_their_rounding() -> None:
    for dtype, tolerance in ((torch.bfloat16, 0.06), (torch.float16, 0.008), (torch.float64, 1e-6)):
        plan = low(5)
        replayed, direct = arrived(flow(3.0), plan, plan.stages[0].candidates(1)[0], 8, dtype, seed=1)
        assert float((replayed - direct).abs().max()) <= tolerance * float(direct.abs().max())


@pytest.mark.parametrize("name", ["paper", "matched", "naive"])
def test_the_presets(name: str) -> None:
    plan = preset(name, 12)
    operator = plan.stages[0].candidates(1)[-1]
    replayed, direct = arrived(flow(3.0), plan, operator, 12, torch.float32, seed=3)
    if operator.gain == 1:
        assert torch.equal(replayed, direct)
    torch.testing.assert_close(replayed, direct, rtol=2e-5, atol=2e-5)


def test_the_check_fails_on_a_wrong_time() -> None:
    """Keeping the high-resolution times with a pooling operator does not arrive at the matched state."""
    plan = low(5)
    for case in (FLOWS[0], next(c for c in CASES if c.name == "DPM-Solver++ 2M")):
        replayed, _ = arrived(case.make(), plan, plan.stages[0].candidates(1)[0], 8, torch.float32, 1)
        head, *_ = recorded(case.make(), 8, 5, torch.float32, 1)
        assert distance(replayed, plan.stages[0].candidates(1)[0](head.state)) > 1e-3


def test_the_check_fails_on_noise_of_another_seed() -> None:
    case = next(c for c in CASES if c.name == "Euler ancestral")
    plan = low(5, operator="strided", time="same")
    replayed, _ = arrived(case.make(), plan, plan.stages[0].candidates(1)[0], 8, torch.float32, 1)
    _, other = arrived(case.make(), plan, plan.stages[0].candidates(1)[0], 8, torch.float32, 2)
    assert distance(replayed, other) > 1e-2


def test_a_tail_announces_the_evaluations_it_makes() -> None:
    """The pipeline's list of times is fixed before the first evaluation."""
    scheduler = flow(3.0)
    plan = preset("paper", 12)
    head, timetable, _, binding = recorded(scheduler, 12, plan.head, torch.float32, 0)
    stage, transport = plan.stages[0], Transport(plan.stages[0].candidates(1)[0], binding.path, 1.0, "same")
    course = Course.of_stage(Schedules(plan, binding, (transport,)), 0, head, timetable, plan.head)
    loop = StageLoop(course, head, identity((3, 6, 4)), torch.float32)
    assert loop.visits == evaluation_times(stage, 4, head.times[plan.head :])
    assert loop.evaluated == len(loop.visits) == 4 + 2 + 7  # candidates, corrections, the other steps


def test_a_schedule_that_starts_a_rounding_beyond_one() -> None:
    """float32 shifts make a first sigma of 1.0000001; it is the noisy end, not an error."""
    shift = 1.5341323270909026
    scheduler = flow(shift)
    scheduler.set_timesteps(2)
    assert float(scheduler.sigmas[0]) > 1.0
    for operator, scale in (("mean", 2), ("spectral", 2)):
        for switch in (0, 1):
            plan = low(switch, operator=operator, scale=Fraction(scale))
            replayed, direct = arrived(flow(shift), plan, plan.stages[0].candidates(1)[0], 2, torch.float32, seed=1)
            torch.testing.assert_close(replayed, direct, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("case", SOLVERS, ids=str)
def test_what_is_read_is_what_is_put_back(case: SchedulerCase) -> None:
    """A schedule continued without any move is the scheduler's own, list for list."""
    scheduler = case.make()
    scheduler.set_timesteps(9)
    before = {k: v.clone() for k, v in vars(scheduler).items() if isinstance(v, torch.Tensor)}
    binding = binding_of(scheduler)
    timetable = binding.read(scheduler)
    course = binding.same(timetable, binding.evaluation(4))
    binding.begin(scheduler, course)
    binding.resume(scheduler, course)
    after = vars(scheduler)
    for name, value in before.items():
        torch.testing.assert_close(after[name].to(value), value, rtol=0, atol=0, equal_nan=True, msg=name)
    assert len(timetable.times) == len(timetable.timesteps) + 1
    assert binding.evaluations(9) == len(timetable.timesteps)
