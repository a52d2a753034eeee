"""Which selection each sample gets."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from commutant.commutator import (
    Evaluate,
    PerSample,
    Plan,
    RectifiedFlow,
    Trajectory,
    Transport,
    commutator_norm,
    euler,
)
from commutant.operators import StridedSelection

from .plans import first_stage, low
from .worlds import SIDE, Counting, Wavy, normal, paths, relative, schedules, seeds, shifted

TIMES = shifted(6)


def plan_of(selection, switch=2, scale=2, **fields) -> Plan:
    return low(switch, operator="strided", scale=scale, selection=selection, **fields)


def choices(result) -> tuple[int, ...]:
    operator = result.transport.operator
    return operator.choice if isinstance(operator, PerSample) else (0,) * result.latent.shape[0]


def norms_by_hand(path, field, result, scale) -> np.ndarray:
    """|D_k x0hat(x) - x0hat(D_k x)| for every k and sample, each from the definition."""
    x, t = result.head.state, result.head.times[result.head.switch]
    out = []
    for k in range(scale * scale):
        rows, columns = divmod(k, scale)
        pick = (..., slice(rows, None, scale), slice(columns, None, scale))
        difference = field.denoised(x, t)[pick] - field.denoised(x[pick], t)
        out.append([np.linalg.norm(sample) for sample in difference])
    return np.array(out)


@settings(max_examples=60)
@given(path=paths, data=st.data(), scale=st.sampled_from([2, 3]), batch=st.integers(1, 4), seed=seeds)
def test_argmin_and_argmax_pick_by_the_commutator_norm_per_sample(path, data, scale, batch, seed):
    times = data.draw(schedules(path))
    switch = data.draw(st.integers(0, len(times) - 2))
    noise = normal(seed, batch, 1, SIDE, SIDE) * path.sigma(times[0])
    found = {}
    for selection in ("argmin", "argmax"):
        result = euler.preview(plan_of(selection, switch, scale), path, Wavy(), noise, times)
        found[selection] = choices(result)
        norms = norms_by_hand(path, Wavy(), result, scale)
        chosen = norms[list(found[selection]), range(batch)]
        best = norms.min(axis=0) if selection == "argmin" else norms.max(axis=0)
        assert np.allclose(chosen, best, rtol=1e-6, atol=1e-9)
    assert found["argmin"] != found["argmax"]


def test_the_norm_is_the_public_one():
    noise, path = normal(1, 3, 1, SIDE, SIDE), RectifiedFlow()
    result = euler.preview(plan_of("argmin"), path, Wavy(), noise, TIMES)
    norms = norms_by_hand(path, Wavy(), result, 2)
    for k, operator in enumerate(StridedSelection.family(2)):
        assert relative(commutator_norm(operator, Wavy())(result.head.state, TIMES[2]), norms[k]) <= 1e-9
    assert choices(result) == tuple(norms.argmin(axis=0))
    assert len(set(choices(result))) > 1  # else nothing here depends on the sample


def test_a_preview_by_argmin_is_the_preview_by_its_operator():
    """Bit for bit what the chosen selection alone would have given, so the reused evaluation is the right one."""
    noise, path = normal(1, 3, 1, SIDE, SIDE), RectifiedFlow()
    result = euler.preview(plan_of("argmin"), path, Wavy(), noise, TIMES)
    for b, k in enumerate(choices(result)):
        y = StridedSelection(2, k)(result.head.state[b : b + 1])
        assert np.array_equal(euler.finish(path, Wavy(), y, TIMES[2:]), result.latent[b : b + 1])


@pytest.mark.parametrize(("selection", "first"), [("argmin", 4), ("argmax", 4), ("first", 1), ("random", 1)])
def test_the_winners_evaluation_is_reused(selection, first):
    field = Counting(Wavy())
    result = euler.preview(plan_of(selection), RectifiedFlow(), field, normal(2, 3, 1, SIDE, SIDE), TIMES)
    lows = [t for width, t in field.asked if width == SIDE // 2]
    assert lows == [TIMES[2]] * first + TIMES[3:-1]
    assert result.high_evaluations == 2 + (first == 4)


def test_the_reused_answer_is_the_winners():
    """A conversation whose answers are told apart: candidate k is answered with the constant k."""
    state, times = normal(3, 1, 1, 4, 4), (1.0, 0.5, 0.0)
    head = Trajectory(times, 1, (state,), (np.zeros_like(state),) * 2, state)
    path, denoised = RectifiedFlow(), state
    conversation = first_stage(plan_of("argmin", 1), path, head)
    request = next(conversation)
    for k in range(4):
        assert isinstance(request, Evaluate)
        assert np.array_equal(request.x, StridedSelection(2, k)(state))
        wanted = path.output(StridedSelection(2, k)(denoised), request.x, 0.5)  # commutes ...
        request = conversation.send(wanted + abs(k - 2) + 0.25)  # ... best for k = 2
    assert request.transport.operator.choice == (2,)
    advance = next(conversation)
    assert np.array_equal(advance.x, StridedSelection(2, 2)(state))
    assert np.allclose(advance.output, 0.25)


def test_first_is_phase_zero():
    noise = normal(4, 2, 1, SIDE, SIDE)
    result = euler.preview(plan_of("first"), RectifiedFlow(), Wavy(), noise, TIMES)
    assert result.transport.operator == StridedSelection(2, 0)


@given(seed=seeds, choice_seed=st.integers(0, 2**40), order=st.permutations(range(4)))
def test_random_depends_on_the_seed_and_the_samples_own_noise_alone(seed, choice_seed, order):
    noise, plan = normal(seed, 4, 1, 4, 4), plan_of("random", 0, selection_seed=choice_seed)
    whole = drawn(plan, noise)
    assert drawn(plan, noise) == whole
    assert drawn(plan, noise[list(order)]) == tuple(whole[i] for i in order)
    assert tuple(drawn(plan, noise[b : b + 1])[0] for b in range(4)) == whole
    assert drawn(plan.replaced(head=1), noise) == whole


def drawn(plan, noise) -> tuple[int, ...]:
    return choices(euler.preview(plan, RectifiedFlow(), Wavy(), noise, [1.0, 0.5, 0.0]))


def test_random_is_the_same_in_torch():
    torch = pytest.importorskip("torch")
    noise = normal(5, 8, 1, 4, 4).astype(np.float32)
    path, plan = RectifiedFlow(), plan_of("random", 0)
    head = Trajectory((1.0, 0.0), 0, (), (), torch.tensor(noise))
    request = next(first_stage(plan, path, head))
    expected = PerSample(StridedSelection.family(2), drawn(plan, noise))(noise)
    assert np.array_equal(request.x.numpy(), expected)


def test_random_is_uniform_over_samples_and_over_seeds():
    """Chi-square at a false-alarm rate of 1e-5 for each of the two, with fixed seeds."""
    noise = normal(20260602, 800, 1, 2, 2)
    by_sample = np.bincount(drawn(plan_of("random", 0), noise), minlength=4)
    by_seed = [drawn(plan_of("random", 0, selection_seed=s), noise[:1])[0] for s in range(400)]
    assert stats.chisquare(by_sample).pvalue > 1e-5
    assert stats.chisquare(np.bincount(by_seed, minlength=4)).pvalue > 1e-5
    assert stats.chisquare(np.bincount(np.minimum(drawn(plan_of("random", 0), noise), 2), minlength=4)).pvalue < 1e-5


def test_a_choice_per_sample_is_each_samples_operator():
    x, family = normal(6, 3, 2, 6, 6), StridedSelection.family(3)
    chosen = PerSample(family, (8, 0, 4))
    assert chosen.noise_gain(x.shape) == 1.0
    assert np.array_equal(chosen(x), np.stack([family[k](x[b]) for b, k in enumerate((8, 0, 4))]))
    assert Transport.of(chosen, RectifiedFlow(), x.shape, "matched").time_of(0.7) == 0.7
