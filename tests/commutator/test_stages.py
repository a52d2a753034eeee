"""Plans of several stages: what is asked where and when, and what a chain of stages arrives at."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from commutant.commutator import (
    GaussianField,
    Guidance,
    Plan,
    Query,
    RectifiedFlow,
    Stage,
    StationaryGaussianField,
    Transport,
    VarianceExploding,
    euler,
    run_head,
    run_stage,
    stage_times,
)
from commutant.operators import BlockMean, SpectralCrop, StridedSelection

from .plans import first_stage, high, low, staged_plans
from .test_condition import falling
from .test_extrapolation import multistep
from .worlds import Counting, Wavy, normal, paths, relative, schedules, seeds, shifted

SIDE = 16  # divisible by every scale of the plans here
FLOW = RectifiedFlow()


def asked_of(plan, path, times, seed=0):
    field = Counting(Wavy())
    noise = normal(seed, 2, 1, SIDE, SIDE) * path.sigma(times[0])
    return euler.preview(plan, path, field, noise, times), field.asked, noise


@settings(max_examples=80)
@given(path=paths, data=st.data(), seed=seeds)
def test_every_stage_asks_at_its_own_size_once_a_step_and_what_its_kind_needs(path, data, seed):
    plan = data.draw(staged_plans())
    count = plan.steps if plan.own_schedule else data.draw(st.integers(plan.head + 1, 9))
    times = [path.sigma(t) for t in shifted(count, top=0.97)]
    result, asked, _ = asked_of(plan, path, times, seed)
    expected: dict[int, int] = {SIDE: plan.head}
    for i, stage in enumerate(plan.stages):
        width, before = SIDE // int(stage.scale), SIDE // int(plan.scale_before(i))
        needs_more = stage.operator is not None and plan.reference(i)
        expected[before] = expected.get(before, 0) + int(needs_more)
        exact = stage.guidance is not None and stage.guidance.kind == "exact"
        more = min(stage.guidance.steps, stage.steps) if exact else 0
        candidates = len(stage.candidates(plan.scale_before(i)))
        chosen = candidates - 1 if stage.compared else 0
        expected[width] = expected.get(width, 0) + stage.steps + more + chosen
    found = {width: sum(w == width for w, _ in asked) for width in expected}
    assert found == expected
    assert (result.high_evaluations, result.low_evaluations) == (found[SIDE], len(asked) - found[SIDE])
    assert result.latent.shape[-1] == SIDE // int(plan.scale)
    assert list(times[: plan.recorded_steps]) == [t for w, t in asked[: plan.recorded_steps]]


def test_the_stages_share_one_grid_of_even_indices():
    times = shifted(30)
    _, asked, _ = asked_of(Plan(4, (high(2), Stage(2, 4))), FLOW, times)
    grid = stage_times(Transport(BlockMean(2), FLOW, 1.0), times, 4, 6)
    assert [t for w, t in asked if w == SIDE] == [*times[:4], *grid[:2]]
    matched = [FLOW.transport(0.5, t)[1] for t in grid]
    assert [t for w, t in asked if w == SIDE // 2] == pytest.approx(matched[2:6], rel=1e-12)


def test_coarse_high_resolution_steps_of_second_order_go_on_from_the_head():
    """The head's last answer is the history of the stage's first step."""
    times, noise, field = shifted(12), normal(3, 1, 1, SIDE, SIDE), Wavy()
    plan = Plan(4, (high(4, order=2),))
    got = euler.preview(plan, FLOW, field, noise, times).latent
    states = euler.trajectory(FLOW, field, noise, times[:5])
    last = field.denoised(states[3], times[3]), np.log((1 - times[3]) / times[3])
    grid = times[4::2]
    assert relative(got, multistep(FLOW, field, states[4], grid, last)) < 1e-10
    assert relative(got, multistep(FLOW, field, states[4], grid)) > 1e-5
    assert relative(got, multistep(FLOW, field, states[4], grid, last, order=1)) > 1e-5


def test_two_selections_one_after_the_other_are_one():
    """1/2 and then 1/2 of a pointwise field is 1/4 of it."""
    times, noise, field = shifted(9), normal(4, 2, 1, SIDE, SIDE), GaussianField(0.3, 0.8)
    half, quarter = (Stage(s, 2, "strided", time="same") for s in (2, 4))
    got = euler.preview(Plan(3, (high(2), half, quarter)), FLOW, field, noise, times)
    plain = euler.preview(Plan(3, (high(6),)), FLOW, field, noise, times)
    assert relative(got.latent, StridedSelection(4)(plain.latent)) < 1e-10
    assert got.latent.shape == (2, 1, 4, 4)


def test_a_split_stage_is_the_whole_one():
    """Stages that keep scale and order change nothing: one grid, one history."""
    times, noise = shifted(10), normal(5, 2, 1, SIDE, SIDE)
    guidance = Guidance("defect", 2, 1.0, "linear")
    for order in (1, 2):
        whole = Plan(4, (Stage(2, 6, guidance=guidance, order=order),))
        split = Plan(4, (Stage(2, 3, guidance=guidance, order=order), Stage(2, 3, None, order=order)))
        one, two = (euler.preview(p, FLOW, Wavy(), noise, times).latent for p in (whole, split))
        assert relative(two, one) < 1e-10
    shorter = Plan(4, (Stage(2, 3, guidance=guidance, order=2), Stage(2, 3, None, order=1)))
    assert relative(euler.preview(shorter, FLOW, Wavy(), noise, times).latent, one) > 1e-6


@pytest.mark.parametrize("path", [FLOW, VarianceExploding()], ids=lambda p: p.name)
def test_a_replay_of_the_carried_history_arrives_at_its_states(path):
    """What a stage leaves is a trajectory of its resolution: a solver fed its answers goes through its states."""
    times = [path.sigma(t) * (1.0 if path is FLOW else 9.0) for t in shifted(8)]
    noise = normal(6, 2, 1, SIDE, SIDE) * times[0]
    recorded, _ = euler.record(low(3), path, Wavy(), noise, times)
    stage = Stage(2, 2)
    candidates = stage.candidates(1)
    move = Transport.of(candidates[0], path, noise.shape, "matched")
    lows = stage_times(move, times, 3, None)
    left, count, _, _ = euler.drive(
        run_stage(stage, candidates, path, recorded, lows, until=2, reference=True), path, Wavy(), lows
    )
    assert (left.switch, len(left.outputs), len(left.states), count) == (5, 6, 5, 3)
    assert left.times == pytest.approx([move.time_of(t) for t in times])
    y = move.start(recorded.noise, times[0])
    for i in range(left.switch):
        assert relative(y, left.states[i]) < 1e-10
        y = euler.euler_step(path, left.outputs[i], y, left.times[i], left.times[i + 1])
    assert relative(y, left.state) < 1e-10
    assert relative(left.denoised(path, 5), Wavy().denoised(left.state, left.times[5])) < 1e-12


def test_guidance_by_the_last_answer_costs_nothing():
    times = shifted(30)
    last = Guidance("defect", 2, 1.0, "linear", "last")
    cheap, _, _ = asked_of(Plan(3, (high(4, order=2), Stage(2, 4, guidance=last))), FLOW, times)
    assert (cheap.high_evaluations, cheap.low_evaluations) == (7, 4)
    switch = Guidance("defect", 2, 1.0, "linear", "switch")
    dear, _, _ = asked_of(Plan(3, (high(4, order=2), Stage(2, 4, guidance=switch))), FLOW, times)
    assert (dear.high_evaluations, dear.low_evaluations) == (8, 4)
    assert relative(cheap.latent, dear.latent) > 1e-6


def test_an_answer_at_the_switch_is_not_asked_for_again():
    """A high-resolution stage after a head begins where the head ended: its first answer is on the final's own run."""
    times, noise = shifted(9), normal(7, 1, 1, SIDE, SIDE)
    conversation = run_head(FLOW, times, Query(noise, times[0]), 3, reference=True)
    recorded, _, _, _ = euler.drive(conversation, FLOW, Wavy(), times)
    plan = Plan(3, (high(6),))
    lows = times[3:]
    _, known, latent, _ = euler.drive(first_stage(plan, FLOW, recorded), FLOW, Wavy(), lows)
    assert known == 5
    assert relative(latent, euler.finish(FLOW, Wavy(), noise, times)) < 1e-12


@settings(max_examples=30)
@given(path=paths, data=st.data(), seed=seeds)
def test_a_finish_continues_what_any_plan_recorded(path, data, seed):
    plan = data.draw(staged_plans())
    if plan.own_schedule:
        return
    times = data.draw(schedules(path))
    plan = plan.replaced(head=min(plan.head, len(times) - 2))
    result, _, noise = asked_of(plan, path, times, seed)
    field = Counting(Wavy())
    finished = euler.finish(path, field, noise, times, result.head.outputs[: plan.recorded_steps])
    assert np.array_equal(finished, euler.finish(path, Wavy(), noise, times))
    assert len(field.asked) == len(times) - 1 - plan.recorded_steps


def test_a_crop_commutes_through_every_stage_where_the_field_does():
    noise, times, field = normal(8, 2, 1, SIDE, SIDE), shifted(12), StationaryGaussianField(falling)
    plan = Plan(3, (high(3), Stage(2, 3), Stage(4, 3)))
    result = euler.preview(plan, FLOW, field, noise, times)
    final = euler.finish(FLOW, field, noise, times)
    assert relative(result.latent, SpectralCrop.by(4)(final)) < 1e-9


def test_a_signal_of_its_own_and_its_operator_go_together():
    noise, times = normal(9, 1, 1, SIDE, SIDE), shifted(8)
    recorded, _ = euler.record(low(3), FLOW, Wavy(), noise, times)
    for operator, signal in (("pixels", None), ("spectral", lambda x: x)):
        stage = Stage(2, 2, operator)
        with pytest.raises(ValueError, match="go together"):
            next(run_stage(stage, stage.candidates(1), FLOW, recorded, times[3:], signal=signal))


@settings(max_examples=20)
@given(path=paths, reference=st.sampled_from(["switch", "last"]), order=st.sampled_from([1, 2]), seed=seeds)
def test_a_signal_that_is_the_crop_changes_nothing(path, reference, order, seed):
    """The state is split, at whatever prediction, and put together again."""
    times = [path.sigma(t) for t in shifted(9, top=0.97)]
    guidance = Guidance("defect", 2, 1.0, "linear", reference)
    crop = SpectralCrop.by(2)
    _, _, noise = asked_of(low(1), path, times, seed)
    for plan in (
        Plan(3, (Stage(2, 4, "pixels", guidance=guidance, order=order),)),
        Plan(2, (high(2, order=2), Stage(2, 3, "fitted", guidance=guidance, order=order))),
    ):
        signals = {"pixels": crop, "fitted": crop}
        split = euler.preview(plan, path, Wavy(), noise, times, signals).latent
        whole = euler.preview(plan.with_last(operator="spectral"), path, Wavy(), noise, times).latent
        assert relative(split, whole) < 1e-9
        twice = {name: lambda x: crop(x) * 1.1 for name in signals}
        assert relative(euler.preview(plan, path, Wavy(), noise, times, twice).latent, split) > 1e-3
