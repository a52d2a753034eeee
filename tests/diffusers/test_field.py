"""A pipeline's model as a field: what the pipeline itself would have been told at that state and time."""

from __future__ import annotations

import pytest
import torch

from commutant.adapters.diffusers import PipelineField, UnsupportedError
from commutant.commutator import commutator, commutator_norm
from commutant.operators import SpectralCrop, StridedSelection

from .conftest import PROMPT, Case


def field_of(case: Case) -> PipelineField:
    return PipelineField(case.pipe, PROMPT, **case.call)


def test_it_is_what_the_sampler_steps_on(case: Case) -> None:
    """The plain run, its states seen through a callback: x' = x + (t' - t) v, and x0hat = x - t v."""
    states: list[torch.Tensor] = []
    case.plain([3], output_type="latent", callback_on_step_end=lambda p, i, t, v: states.append(v["latents"]) or v)
    sigmas = [float(s) for s in case.pipe.scheduler.sigmas]
    field = field_of(case)
    field.denoised(torch.zeros(1, *grid(case)), 0.5)  # finds the layout
    layout = field._layouts[case.call["height"], case.call["width"]]
    for i in (0, 3):
        x, following = (layout.spatial(s) for s in states[i : i + 2])
        t, t_next = sigmas[i + 1], sigmas[i + 2]
        expected = x - t * (following - x) / (t_next - t)
        torch.testing.assert_close(field.denoised(x, t), expected, rtol=2e-4, atol=2e-4)


def grid(case: Case) -> tuple[int, int, int]:
    return 4, case.call["height"] // 8, case.call["width"] // 8


def test_commutators_of_a_model(case: Case) -> None:
    field, x = field_of(case), torch.randn(2, *grid(case), generator=torch.Generator().manual_seed(0))
    value = commutator(StridedSelection(2), field)(x, 0.7)
    assert value.shape == (2, 4, grid(case)[1] // 2, grid(case)[2] // 2)
    high, low = field.denoised(x, 0.7), field.denoised(x[..., ::2, ::2], 0.7)
    torch.testing.assert_close(value, high[..., ::2, ::2] - low)
    assert (commutator_norm(SpectralCrop.by(2), field, relative=True)(x, 0.7) > 0).all()


def test_refusals(flux: Case) -> None:
    field = field_of(flux)
    for t in (0.0, -0.1, 1.5):
        with pytest.raises(ValueError, match="times in"):
            field.denoised(torch.zeros(1, 4, 8, 12), t)
    with pytest.raises(UnsupportedError):
        field.denoised(torch.zeros(1, 4, 7, 12), 0.5)


def test_the_pipeline_is_left_as_it_was(flux: Case) -> None:
    before = set(vars(flux.pipe)), set(vars(flux.pipe.scheduler)), set(vars(flux.pipe.transformer))
    plain = flux.plain([3], output_type="latent")
    field_of(flux).denoised(torch.zeros(1, 4, 8, 12), 0.5)
    assert before == (set(vars(flux.pipe)), set(vars(flux.pipe.scheduler)), set(vars(flux.pipe.transformer)))
    assert torch.equal(flux.plain([3], output_type="latent"), plain)
