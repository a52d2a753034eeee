"""Moving a generated image: the motion is what a replay arrives at, and where the model commutes it moves the final."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from commutant.commutator import GaussianField, Guidance, Motion, RectifiedFlow, Transform, VarianceExploding, euler
from commutant.operators import BlockMean, ShapeError, Translate

from .worlds import Wavy, normal, recorded, relative, same_bits, schedules, seeds, shifted

SIDE = 12
FLOW, EXPLODING = RectifiedFlow(), VarianceExploding()
moves = st.builds(Translate, st.integers(-5, 5), st.integers(-5, 5), st.sampled_from(["reflect", "edge"]))


def seen_of(operator):
    return operator.coverage((SIDE, SIDE)) == 1


@settings(max_examples=40)
@given(data=st.data(), operator=moves, seed=seeds)
def test_replay_arrives_at_the_moved_state(data, operator, seed):
    """Arbitrary answers: nothing but linearity carries the solver there."""
    path = data.draw(st.sampled_from([FLOW, EXPLODING]))
    times = shifted(data.draw(st.integers(2, 8))) if path is FLOW else data.draw(schedules(path))
    switch = data.draw(st.integers(1, len(times) - 2))
    first, *answers = normal(seed, switch + 1, 2, 3, SIDE, SIDE)
    head = recorded(path, times, switch, first * path.sigma(times[0]), answers)
    motion = Motion.of(operator, path, head.noise, times[0], seeds=[1, 2])
    assert relative(euler.replay(motion, path, head), motion.state(head.state, times[switch])) <= 1e-12


@settings(max_examples=30)
@given(operator=moves, switch=st.integers(0, 5), seed=seeds)
def test_a_pointwise_model_commutes_with_every_move(operator, switch, seed):
    """Where the operator has seen the image, the moved run ends at the moved final."""
    field, noise, times = GaussianField(0.3, 0.8), normal(seed, 2, 3, SIDE, SIDE), shifted(6)
    final = euler.finish(FLOW, field, noise, times)
    moved = euler.transform(Transform(operator, switch), FLOW, field, noise, times, seeds=[3, 4])
    seen = seen_of(operator)
    assert relative(moved[..., seen], operator(final)[..., seen]) <= 1e-12
    if not seen.all():  # elsewhere it is new, not the fill
        assert np.abs(moved - operator(final))[..., ~seen].max() > 1e-3


def distance(operator, guidance, seed):
    """From the moved final, where the operator has seen the image."""
    field, noise, times = Wavy(), normal(seed, 2, 3, SIDE, SIDE), shifted(8)
    final = euler.finish(FLOW, field, noise, times)
    moved = euler.transform(Transform(operator, 3, guidance), FLOW, field, noise, times, seeds=[3, 4])
    return float(np.abs(moved - operator(final))[..., seen_of(operator)].mean())


def test_guidance_brings_a_model_that_does_not_commute_closer():
    guided, free = [], []
    for seed in range(6):
        guided.append(distance(Translate(4, -3), Guidance("defect", 4, 1.0, "linear"), seed))
        free.append(distance(Translate(4, -3), None, seed))
    assert np.mean(guided) < np.mean(free)


@pytest.mark.parametrize("kind", ["anchor", "defect", "lagged", "exact"])
def test_guidance_is_silent_where_nothing_was_seen(kind):
    """In the band that came into view, the first correction leaves state and answer as they are."""
    operator, noise, times = Translate(5, 0), normal(1, 1, 2, SIDE, SIDE), shifted(4)
    answers = normal(2, 3, 1, 2, SIDE, SIDE)
    head = recorded(FLOW, times, 2, noise, answers)
    head = type(head)(head.times, 2, head.states, (*head.outputs, answers[2]), head.state)
    conversation = Transform(operator, 2, Guidance(kind, 1, 0.5)).run(FLOW, head, [0])
    request = next(conversation)
    y, output = request.x, normal(3, 1, 2, SIDE, SIDE)
    conversation.send(output)  # -> Enter
    request = conversation.send(None)
    if kind == "exact":
        request = conversation.send(output)  # asked again at the corrected state
    band = ~seen_of(operator)
    assert np.array_equal(request.x[..., band], y[..., band])
    np.testing.assert_allclose(request.output[..., band], output[..., band], rtol=1e-12)
    assert not np.allclose(request.x + request.output, y + output)  # elsewhere it acts


def test_samples_move_alone_as_in_a_batch():
    noise = normal(5, 3, 2, SIDE, SIDE)
    together = Motion.of(Translate(3, 1), FLOW, noise, 1.0, seeds=[7, 8, 9]).moved_noise
    for b, seed in enumerate((7, 8, 9)):
        assert same_bits(Motion.of(Translate(3, 1), FLOW, noise[b : b + 1], 1.0, [seed]).moved_noise[0], together[b])
    assert not np.array_equal(*Motion.of(Translate(3, 1), FLOW, noise[[0, 0]], 1.0, [1, 2]).moved_noise)


def test_evaluations_are_announced():
    manipulation, times = Transform(Translate(2, 0), 3, Guidance("exact", 2, 0.1)), shifted(8)
    assert manipulation.evaluation_times(times) == [times[3], times[3], times[4], times[4], *times[5:8]]


REFUSED = {
    "keeps the size": lambda: Motion.of(BlockMean(2), FLOW, normal(0, 1, 1, 4, 4), 1.0, [0]),
    "not with pure noise": lambda: Motion.of(Translate(1), FLOW, normal(0, 1, 1, 4, 4), 0.9, [0]),
    "got 2 seeds for 1": lambda: Motion.of(Translate(1), FLOW, normal(0, 1, 1, 4, 4), 1.0, [0, 1]),
    "must not be negative": lambda: Transform(Translate(1), -1),
    "reference='switch'": lambda: Transform(Translate(1), 1, Guidance("anchor", 1, 0.5, reference="last")),
    "switch step must lie in": lambda: Transform(Translate(1), 4).evaluation_times(shifted(4)),
    "a head of 3 evaluations": lambda: next(
        Transform(Translate(1), 3).run(FLOW, recorded(FLOW, shifted(5), 2, *a_run(2)), [0])
    ),
    "and the answer after them": lambda: next(
        Transform(Translate(1), 2, Guidance("defect", 1, 1.0)).run(FLOW, recorded(FLOW, shifted(5), 2, *a_run(2)), [0])
    ),
}


def a_run(switch):
    first, *answers = normal(0, switch + 1, 1, 1, 4, 4)
    return first, answers


@pytest.mark.parametrize("message", REFUSED)
def test_refused_by_name(message):
    with pytest.raises(ValueError, match=message):
        REFUSED[message]()


def test_a_move_out_of_the_image_is_refused():
    with pytest.raises(ShapeError, match="more than 0 and 9"):
        Motion.of(Translate(9), FLOW, normal(0, 1, 1, 8, 8), 1.0, [0])
