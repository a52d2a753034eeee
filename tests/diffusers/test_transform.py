"""Moved images: the same run, retraced and continued along another trajectory."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from commutant.adapters.diffusers import Previewer, UnsupportedError
from commutant.commutator import Guidance, Plan, Stage, TapeError
from commutant.operators import BlockMean, Translate

from .conftest import PROMPT, Case


def made(case: Case, seeds=(3,), **arguments):
    previewer = Previewer(case.pipe)
    return previewer, previewer.preview(PROMPT, seeds=list(seeds), progress=False, **arguments, **case.call)


def latent(previewer, item, operator, **arguments):
    (final,) = previewer.transform([item], operator, output_type="latent", **arguments)
    return final.image


@pytest.mark.parametrize("at", [0, 1, 2, 4])
def test_a_move_by_nothing_is_the_final(case: Case, at: int) -> None:
    """No content moves, so the retraced, replayed and continued run must be the plain one, to the last rounding."""
    previewer, sheet = made(case)
    moved = latent(previewer, sheet[0], Translate(0, 0), at=at, guidance=None)
    torch.testing.assert_close(moved, case.plain([3], output_type="latent")[0], rtol=2e-4, atol=2e-4)


def test_size_determinism_and_cost(case: Case) -> None:
    previewer, sheet = made(case)
    (first,) = previewer.transform([sheet[0]], Translate(16, -8), at=3)
    assert first.image.size == (case.call["width"], case.call["height"])
    again = previewer.transform(sheet[0], Translate(16, -8), at=3)
    assert np.array_equal(np.asarray(first.image), np.asarray(again))
    other = previewer.transform(sheet[0], Translate(16, -8), at=3, seed=1)
    assert not np.array_equal(np.asarray(first.image), np.asarray(other))
    # Two steps at N = 6 are the tape's (one, and the one at the switch); one is computed again, one is the reference.
    steps, recorded = case.call["num_inference_steps"], sheet[0].tape.recorded
    rows = first.cost.full // steps
    assert first.cost.high == rows * ((4 - recorded) + (steps - 3))


@pytest.mark.parametrize("kind", ["anchor", "defect", "lagged", "exact"])
def test_every_guidance_acts(flux: Case, kind: str) -> None:
    previewer, sheet = made(flux)
    free = latent(previewer, sheet[0], Translate(8, 0), at=2, guidance=None)
    guided = latent(previewer, sheet[0], Translate(8, 0), at=2, guidance=Guidance(kind, 2, 0.5))
    assert torch.isfinite(guided).all()
    assert not torch.equal(free, guided)


def test_a_batch_moves_as_its_members(flux: Case) -> None:
    previewer, sheet = made(flux, seeds=(3, 4))
    together = previewer.transform(sheet, Translate(24, 0), at=2, batch_size=2, output_type="latent")
    for item, final in zip(sheet, together):
        alone = latent(previewer, item, Translate(24, 0), at=2)
        torch.testing.assert_close(final.image, alone, rtol=1e-4, atol=1e-4)


def test_a_coarse_head_is_computed_afresh(flux: Case) -> None:

    previewer, sheet = made(flux, plan=Plan(0, (Stage(1, 1), Stage(2, 2))))
    assert sheet[0].tape.recorded == 0
    (final,) = previewer.transform([sheet[0]], Translate(0, 0), at=2, guidance=None, output_type="latent")
    torch.testing.assert_close(final.image, flux.plain([3], output_type="latent")[0], rtol=2e-4, atol=2e-4)
    assert final.cost.high == final.cost.full


def test_callbacks_see_every_step_once(flux: Case) -> None:
    seen: list[int] = []

    def callback(pipe, step, timestep, values):
        seen.append(step)
        return {}

    previewer = Previewer(flux.pipe)
    sheet = previewer.preview(PROMPT, seeds=[3], progress=False, callback_on_step_end=callback, **flux.call)
    seen.clear()
    previewer.transform(sheet, Translate(8, 0), at=3, output_type="latent")
    assert seen == list(range(flux.call["num_inference_steps"]))


REFUSED = [
    (Translate(12, 0), {}, UnsupportedError, r"nearest \(dx, dy\): \(8, 0\) or \(16, 0\)"),
    (BlockMean(2), {}, UnsupportedError, "no counterpart"),
    (Translate(800, 0), {}, UnsupportedError, "more than 0 and 800"),
    (Translate(8, 0), {"at": 6}, ValueError, "must lie in 0..5"),
    (Translate(8, 0), {"at": -1}, ValueError, "must lie in 0..5"),
    (Translate(8, 0), {"guidance": Guidance("anchor", 1, 1.0, reference="last")}, ValueError, "reference='switch'"),
]


@pytest.mark.parametrize(("operator", "arguments", "error", "message"), REFUSED, ids=lambda v: str(v)[:40])
def test_refused_before_any_evaluation(flux: Case, operator, arguments, error, message) -> None:
    calls = []
    handle = flux.pipe.transformer.register_forward_pre_hook(lambda *a: calls.append(1))
    try:
        previewer, sheet = made(flux)
        calls.clear()
        with pytest.raises(error, match=message):
            previewer.transform(sheet[0], operator, **arguments)
    finally:
        handle.remove()
    assert calls == []


def test_a_tape_of_another_run_is_refused(flux: Case) -> None:
    previewer, sheet = made(flux, seeds=(3, 4))
    swapped = dataclasses.replace(sheet[0].tape, rng=sheet[1].tape.rng)
    with pytest.raises(TapeError, match="initial noise differs"):
        previewer.transform(dataclasses.replace(sheet[0], tape=swapped), Translate(8, 0), at=2)


def test_the_pipeline_is_left_as_it_was(flux: Case) -> None:
    previewer, sheet = made(flux)
    before = set(vars(flux.pipe)), set(vars(flux.pipe.scheduler)), set(vars(flux.pipe.transformer))
    state = torch.get_rng_state()
    previewer.transform(sheet[0], Translate(8, 0), at=2)
    assert before == (set(vars(flux.pipe)), set(vars(flux.pipe.scheduler)), set(vars(flux.pipe.transformer)))
    assert torch.equal(state, torch.get_rng_state())
