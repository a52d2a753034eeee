"""The low-resolution state that enters step D is the transport of the high-resolution state."""

from __future__ import annotations

from fractions import Fraction

import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from hypothesis import given, settings
from hypothesis import strategies as st

from commutant.adapters.diffusers.layout import Layout
from commutant.adapters.diffusers.loops import PATH
from commutant.adapters.diffusers.tail_loop import Course, TailLoop, replay
from commutant.commutator import Head, Plan, Transport, evaluation_times, preset
from commutant.operators import StridedSelection

GRID = (3, 12, 8)
DTYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16)


def identity(grid: tuple[int, ...]) -> Layout:
    order = torch.arange(grid[0] * grid[1] * grid[2])
    return Layout(grid, grid, order, order)


def recorded(scheduler, steps: int, switch: int, dtype: torch.dtype, seed: int) -> Head:
    """A head that the real scheduler walked, with random model outputs."""
    generator = torch.Generator().manual_seed(seed)
    scheduler.set_timesteps(steps)
    scheduler._begin_index = 0
    times = tuple(float(s) for s in scheduler.sigmas)
    x = torch.randn(2, *GRID, generator=generator, dtype=torch.float64).to(dtype)
    states, outputs = [], []
    for t in scheduler.timesteps[:switch]:
        states.append(x)
        outputs.append(torch.randn(2, *GRID, generator=generator, dtype=torch.float64).to(dtype))
        x = scheduler.step(outputs[-1], t, x, return_dict=False)[0]
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    return Head(times, switch, tuple(s.to(wide) for s in states), tuple(o.to(wide) for o in outputs), x.to(wide))


def arrived(plan: Plan, operator, steps: int, dtype: torch.dtype, shift: float, seed: int):
    """(state by replay through the real scheduler, state by transport), at low resolution in the solver's dtype."""
    scheduler = FlowMatchEulerDiscreteScheduler(shift=shift)
    head = recorded(scheduler, steps, plan.switch, dtype, seed)
    transport = Transport.of(operator, PATH, head.state.shape, plan.time)
    low = identity(tuple(operator.out_shape(GRID)))

    def real(output, t, state):
        return scheduler.step(output, t, state, return_dict=False)[0]

    sigmas = Course.of_plan(plan, head, transport.gain).schedule(transport)
    replayed = replay(transport, head, sigmas, low, dtype, scheduler, real)
    direct = low.solver(transport.state(head.state, head.times[plan.switch]), dtype)
    assert scheduler.step_index == (plan.switch or None)
    return replayed, direct


@settings(max_examples=25, deadline=None)
@given(st.sampled_from(DTYPES), st.integers(0, 3), st.integers(2, 12), st.floats(0.5, 6), st.data())
def test_selections_replay_exactly(dtype, phase, steps, shift, data) -> None:
    switch = data.draw(st.integers(0, steps - 1))
    plan = Plan(switch=switch, operator="strided", time="same")
    operator = StridedSelection.family(2)[phase]
    replayed, direct = arrived(plan, operator, steps, dtype, shift, seed=steps)
    assert torch.equal(replayed, direct)


@settings(max_examples=25, deadline=None)
@given(
    st.sampled_from([("mean", Fraction(2)), ("spectral", Fraction(2)), ("spectral", Fraction(4, 3))]),
    st.integers(2, 12),
    st.floats(0.5, 6),
    st.data(),
)
def test_means_replay_to_rounding(operator, steps, shift, data) -> None:
    """float32: 2e-5 of the largest value, some twenty roundings of 2^-24 grown by the division by small times."""
    switch = data.draw(st.integers(0, steps - 1))
    plan = Plan(switch=switch, operator=operator[0], scale=operator[1])
    replayed, direct = arrived(plan, plan.operators()[0], steps, torch.float32, shift, seed=steps)
    assert float((replayed - direct).abs().max()) <= 2e-5 * float(direct.abs().max() + 1)


def test_half_precision_means_replay_to_their_rounding() -> None:
    for dtype, tolerance in ((torch.bfloat16, 0.06), (torch.float16, 0.008), (torch.float64, 1e-6)):
        plan = Plan(switch=5)
        replayed, direct = arrived(plan, plan.operators()[0], 8, dtype, 3.0, seed=1)
        assert float((replayed - direct).abs().max()) <= tolerance * float(direct.abs().max())


@pytest.mark.parametrize("name", ["paper", "matched", "naive"])
def test_the_presets(name: str) -> None:
    plan = preset(name, 12)
    operator = plan.operators()[-1]
    replayed, direct = arrived(plan, operator, 12, torch.float32, 3.0, seed=3)
    if operator.gain == 1:
        assert torch.equal(replayed, direct)
    torch.testing.assert_close(replayed, direct, rtol=2e-5, atol=2e-5)


def test_the_check_fails_on_a_wrong_time() -> None:
    """Keeping the high-resolution times with a pooling operator does not arrive at the matched state."""
    plan = Plan(switch=5)
    replayed, _ = arrived(plan, plan.operators()[0], 8, torch.float32, 3.0, seed=1)
    scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0)
    head = recorded(scheduler, 8, 5, torch.float32, 1)
    unmatched = plan.operators()[0](head.state)
    assert float((replayed - unmatched).abs().max()) > 1e-2


def test_a_tail_announces_the_evaluations_it_makes() -> None:
    """The pipeline's list of times is fixed before the first evaluation."""
    scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0)
    plan = preset("paper", 12)
    head = recorded(scheduler, 12, plan.high_evaluations, torch.float32, 0)
    head = Head(head.times, plan.switch, head.states[: plan.switch], head.outputs, head.states[plan.switch])
    loop = TailLoop(Course.of_plan(plan, head, 1.0), head, identity((3, 6, 4)), torch.float32)
    assert loop.evaluations == evaluation_times(plan, PATH, head.times, 1.0)
    assert len(loop.evaluations) == 4 + 2 + 7  # candidates, corrections, the other steps


def test_a_schedule_that_starts_a_rounding_beyond_one() -> None:
    """float32 shifts make a first sigma of 1.0000001; it is the noisy end, not an error."""
    shift = 1.5341323270909026
    scheduler = FlowMatchEulerDiscreteScheduler(shift=shift)
    scheduler.set_timesteps(2)
    assert float(scheduler.sigmas[0]) > 1.0
    for operator, scale in (("mean", 2), ("spectral", 2)):
        for switch in (0, 1):
            plan = Plan(switch=switch, operator=operator, scale=Fraction(scale))
            replayed, direct = arrived(plan, plan.operators()[0], 2, torch.float32, shift, seed=1)
            torch.testing.assert_close(replayed, direct, rtol=2e-5, atol=2e-5)
