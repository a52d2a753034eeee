"""How often, where and when the model is asked."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from commutant.commutator import (
    PATHS,
    Plan,
    Query,
    RectifiedFlow,
    Stage,
    euler,
    evaluation_times,
    preset,
    run_head,
    stage_times,
)
from commutant.commutator.plan import SAMPLER_PRESETS

from .plans import high, low, plans
from .worlds import SIDE, Counting, Wavy, highest, normal, paths, relative, schedules, seeds, shifted


def watched(plan, path, times, seed=0, batch=2):
    field = Counting(Wavy())
    noise = normal(seed, batch, 1, SIDE, SIDE) * path.sigma(times[0])
    result = euler.preview(plan, path, field, noise, times)
    highs = [t for width, t in field.asked if width == SIDE]
    lows = [t for width, t in field.asked if width != SIDE]
    return result, highs, lows


def test_the_paper_makes_39_evaluations():
    times = shifted(30)
    result, highs, lows = watched(preset("paper", 30), RectifiedFlow(), times)
    assert (result.high_evaluations, result.low_evaluations) == (len(highs), len(lows)) == (11, 4 + 5 + 19)
    assert highs == times[:11]
    twice = [t for t in times[10:15] for _ in range(2)]
    assert lows == [times[10]] * 3 + twice + times[15:30]


def disagreement(plan, path, times, seed) -> list[str]:
    """What differs between the announced evaluations and those made."""
    result, highs, lows = watched(plan, path, times, seed)
    stage, found = plan.stages[0], []
    if highs != list(times[: plan.recorded_steps]):
        found.append("high")
    candidates = len(stage.candidates(1))
    if lows != evaluation_times(stage, candidates, stage_times(result.transport, times, plan.head, stage.steps)):
        found.append("low")
    if (len(highs), len(lows)) != (result.high_evaluations, result.low_evaluations):
        found.append("counts")
    return found


@settings(max_examples=120)
@given(path=paths, data=st.data(), seed=seeds)
def test_announced_evaluations_are_those_made(path, data, seed):
    times = data.draw(schedules(path))
    plan = data.draw(plans(most=len(times) - 2, scales=("4/3", "3/2", "2", "3")))
    assert disagreement(plan, path, times, seed) == []


@pytest.mark.parametrize("plan", [preset(name, 12) for name in SAMPLER_PRESETS], ids=SAMPLER_PRESETS)
def test_announced_evaluations_of_the_presets(plan):
    assert disagreement(plan, RectifiedFlow(), shifted(12), 0) == []


def test_a_disagreement_is_noticed(monkeypatch):
    plan = preset("paper", 30)
    other = plan.stages[0].replaced(guidance=None)
    announced = evaluation_times
    monkeypatch.setitem(globals(), "evaluation_times", lambda stage, *a: announced(other, *a))
    assert disagreement(plan, RectifiedFlow(), shifted(30), 0) == ["low"]


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
@pytest.mark.parametrize("time", ["matched", "same"])
def test_direct_previews_ask_nothing_of_the_high_resolution(path, time):
    """Also on a path whose noise has no unit variance: a start from pooled noise needs no prediction."""
    plan = preset("direct", 6).with_last(time=time)
    times = [highest(path) * t for t in shifted(6)]
    result, highs, lows = watched(plan, path, times)
    assert highs == []
    assert len(lows) == 6
    assert result.latent.shape == (2, 1, SIDE // 2, SIDE // 2)


def test_a_switch_too_late_is_refused_before_any_evaluation():
    field = Counting(Wavy())
    for switch in (5, 6, 50):
        with pytest.raises(ValueError, match="switch step"):
            euler.preview(low(switch), RectifiedFlow(), field, normal(0, 1, 1, SIDE, SIDE), shifted(5))
        with pytest.raises(ValueError, match="switch step"):
            next(run_head(RectifiedFlow(), shifted(5), Query(normal(0, 1, 1, 4, 4), 1.0), switch))
    assert field.asked == []


def test_a_plan_without_a_head_may_run_on_a_schedule_of_its_own():
    plan = Plan(0, (high(2), Stage(2, 3)))
    result, highs, lows = watched(plan, RectifiedFlow(), shifted(5))
    assert (len(highs), len(lows)) == (2, 3)
    assert result.head.times == tuple(shifted(5))
    with pytest.raises(ValueError, match="a schedule of 5 steps, got one of 30"):
        watched(plan, RectifiedFlow(), shifted(30))


@settings(max_examples=30)
@given(path=paths, data=st.data(), seed=seeds)
def test_a_preview_does_not_depend_on_what_else_is_in_the_batch(path, data, seed):
    times = data.draw(schedules(path))
    plan = data.draw(plans(most=len(times) - 2, scales=("3/2", "2")))
    noise = normal(seed, 3, 1, SIDE, SIDE) * path.sigma(times[0])
    together = euler.preview(plan, path, Wavy(), noise, times).latent
    alone = euler.preview(plan, path, Wavy(), noise[1:2], times).latent
    assert relative(together[1:2], alone) <= 1e-9


def test_the_recorded_head_is_what_was_computed():
    times, path = shifted(8), RectifiedFlow()
    result, _, _ = watched(preset("paper", 8), path, times)
    recorded = result.head
    assert recorded.times == tuple(times)
    assert len(recorded.states) == recorded.switch == 3
    assert len(recorded.outputs) == 4
    assert recorded.reference is recorded.outputs[3]
    for x, t, output in zip((*recorded.states, recorded.state), times, recorded.outputs):
        assert relative(path.output(Wavy().denoised(x, t), x, t), output) == 0
    plain = euler.finish(path, Wavy(), recorded.noise, times[:4])
    assert relative(plain, recorded.state) == 0
