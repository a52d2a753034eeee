"""The laws of paths, for models trained on a table of noise levels."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from commutant.adapters.diffusers.schedulers.registry import PREDICTIONS, SCHEDULERS, TablePath
from commutant.commutator import (
    Motion,
    RectifiedFlow,
    Transport,
    VariancePreserving,
    run_head,
    run_stage,
    stage_times,
)
from commutant.commutator.conversation import Query
from commutant.operators import BlockMean, Translate

from ..commutator.plans import low

PATHS = st.builds(TablePath, st.sampled_from(PREDICTIONS), st.booleans())
LEVELS = st.floats(0.02, 200)


def arrays(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.randn(2, 3, 4, 4, generator=generator, dtype=torch.float64) for _ in range(2))  # type: ignore


@given(PATHS, LEVELS, st.floats(0.1, 3))
def test_transport_lands_on_the_path(path: TablePath, t: float, gain: float) -> None:
    scale, moved = path.transport(gain, t)
    assert scale * path.alpha(t) == pytest.approx(path.alpha(moved), rel=1e-12)
    assert scale * gain * path.sigma(t) == pytest.approx(path.sigma(moved), rel=1e-12)
    assert path.sigma(t) / path.alpha(t) == pytest.approx(t, rel=1e-12)


@given(PATHS, LEVELS)
def test_predictions_are_what_their_names_say(path: TablePath, t: float) -> None:
    clean, noise = arrays()
    x = path.alpha(t) * clean + path.sigma(t) * noise
    signal, level = 1 / math.hypot(1, t), t / math.hypot(1, t)
    said = noise if path.prediction == "epsilon" else signal * noise - level * clean
    torch.testing.assert_close(path.denoised(said, x, t), clean, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(path.output(clean, x, t), said, rtol=1e-9, atol=1e-9)
    assert not torch.allclose(path.denoised(said + 0.1, x, t), clean, atol=1e-4)


@given(st.floats(0.02, 50))
def test_it_is_the_variance_preserving_path_in_another_time(t: float) -> None:
    path, other = TablePath(), VariancePreserving()
    sigma = path.sigma(t)
    assert path.alpha(t) == pytest.approx(other.alpha(sigma), rel=1e-6)
    output, x = arrays()
    torch.testing.assert_close(path.denoised(output, x, t), other.denoised(output, x, sigma), rtol=1e-6, atol=1e-6)


def test_refusals() -> None:
    with pytest.raises(ValueError, match="prediction must be"):
        TablePath("sample")
    with pytest.raises(ValueError, match="noise level 0"):
        TablePath().output(*arrays(), 0.0)
    with pytest.raises(ValueError, match="outside"):
        TablePath().transport(0.5, -1.0)


def test_runs_that_begin_below_pure_noise_can_be_moved() -> None:
    """A table ends at some noise level; a flow does not, and a run that begins on the way there is another matter."""
    noise, _ = arrays()
    assert Motion.of(Translate(1, 0), TablePath(), noise, 14.6, [0, 1]).moved_noise.shape == noise.shape
    with pytest.raises(ValueError, match="not with pure noise"):
        Motion.of(Translate(1, 0), RectifiedFlow(), noise, 0.9, [0, 1])


def test_a_tail_follows_the_times_it_is_given() -> None:
    plan, path, times = low(1), TablePath(), (8.0, 4.0, 2.0, 1.0, 0.0)
    noise, answer = arrays()
    conversation = run_head(path, times, Query(noise, times[0]), 1)
    next(conversation)
    conversation.send(answer)
    with pytest.raises(StopIteration) as done:
        conversation.send(Query(noise, times[1]))
    recorded = done.value.value
    usual = stage_times(Transport(BlockMean(2), path, 0.5), times, 1, None)
    stage, operators = plan.stages[0], plan.stages[0].candidates(1)
    assert next(run_stage(stage, operators, path, recorded, usual)).t == usual[0]
    assert next(run_stage(stage, operators, path, recorded, [3.0, 1.0, 0.0])).t == 3.0


def test_every_scheduler_named_exists() -> None:
    import diffusers

    assert [name for name in SCHEDULERS if not hasattr(diffusers, name)] == []
