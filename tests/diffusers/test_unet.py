"""Stable Diffusion pipelines: prediction types, sizes, and the sizes that SDXL tells its model."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest
import torch
from diffusers import DPMSolverMultistepScheduler, EulerDiscreteScheduler

from commutant.adapters.diffusers import PipelineField, Previewer, UnsupportedError
from commutant.adapters.diffusers.schedulers.registry import TablePath
from commutant.commutator import commutator
from commutant.operators import StridedSelection, Translate

from ..commutator.plans import low
from .conftest import PROMPT
from .scheduler_cases import LEADING
from .tiny_unet import tiny_sd, tiny_sdxl

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

CALL: dict[str, Any] = {"height": 64, "width": 96, "num_inference_steps": 8, "guidance_scale": 3.0}


@pytest.fixture(scope="module")
def sd() -> Any:
    return tiny_sd()


@pytest.fixture(scope="module")
def sdxl() -> Any:
    return tiny_sdxl()


def plain(pipe: Any, seed: int, **changes: Any) -> torch.Tensor:
    call = CALL | changes
    return pipe(PROMPT, generator=torch.Generator().manual_seed(seed), output_type="latent", **call).images[0]


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("scaled", [True, False])
def test_the_field_is_what_the_sampler_steps_on(prediction: str, scaled: bool) -> None:
    """First-order steps: in x / alpha, x' = x0hat + (s' / s) (x - x0hat), so that x0hat follows from two states."""
    pipe = tiny_sd(prediction=prediction)
    config = {**LEADING, "prediction_type": prediction}
    if scaled:
        pipe.scheduler = DPMSolverMultistepScheduler(**config, solver_order=1)
    else:
        pipe.scheduler = EulerDiscreteScheduler(**config)
    states: list[torch.Tensor] = []
    pipe(
        PROMPT,
        generator=torch.Generator().manual_seed(1),
        callback_on_step_end=lambda p, i, t, v: states.append(v["latents"]) or v,
        **CALL,
    )
    levels = [float(s) for s in pipe.scheduler.sigmas]
    field = PipelineField(pipe, PROMPT, guidance_scale=3.0)
    assert field.path == TablePath(prediction, scaled)
    for i in (0, 3):
        s, following = levels[i + 1], levels[i + 2]
        x, after = (x / field.path.alpha(t) for x, t in ((states[i], s), (states[i + 1], following)))
        expected = (after - following / s * x) / (1 - following / s)
        torch.testing.assert_close(field.denoised(states[i], s), expected, rtol=2e-3, atol=2e-3)
    with pytest.raises(ValueError, match="times in"):
        field.denoised(states[0], 20.0)


def test_commutators_of_a_model(sd: Any) -> None:
    field, x = PipelineField(sd, PROMPT, guidance_scale=3.0), torch.randn(2, 4, 8, 12)
    value = commutator(StridedSelection(2), field)(x, 1.5)
    assert value.shape == (2, 4, 4, 6)
    torch.testing.assert_close(value, field.denoised(x, 1.5)[..., ::2, ::2] - field.denoised(x[..., ::2, ::2], 1.5))


@pytest.mark.parametrize("scale", [Fraction(2), Fraction(4, 3)])
def test_sdxl_is_told_the_sizes_of_the_final(sdxl: Any, scale: Fraction) -> None:
    told: list[tuple[int, list[float]]] = []

    def hook(module: Any, args: Any, kwargs: Any) -> None:
        told.append((args[0].shape[-1], kwargs["added_cond_kwargs"]["time_ids"][0].tolist()))

    handle = sdxl.unet.register_forward_pre_hook(hook, with_kwargs=True)
    try:
        call = CALL | {"width": 128}
        (item,) = Previewer(sdxl).preview(PROMPT, seeds=[1], scale=scale, progress=False, **call)
        final = Previewer(sdxl).finish([item], output_type="latent")[0].image
        low = int(128 / scale)
        assert item.image.size == (low, int(64 / scale))
        assert {cells for cells, _ in told} == {16, low // 8}
        assert {tuple(ids) for _, ids in told} == {(64, 128, 0, 0, 64, 128)}
        told.clear()
        asked = call | {"original_size": (1024, 512), "target_size": (512, 1024)}
        Previewer(sdxl).preview(PROMPT, seeds=[1], scale=scale, progress=False, **asked)
        assert {tuple(ids) for _, ids in told} == {(1024, 512, 0, 0, 512, 1024)}
    finally:
        handle.remove()
    assert torch.equal(final, plain(sdxl, 1, width=128))


def test_batches_callbacks_and_moves_of_sdxl(sdxl: Any) -> None:
    seen: list[int] = []

    def callback(pipe: Any, step: int, t: Any, values: Any) -> Any:
        seen.append(step)
        return values

    call = CALL | {"negative_prompt": "not", "callback_on_step_end": callback}
    plan = low(3, operator="mean")
    sheet = Previewer(sdxl).preview(PROMPT, seeds=[1, 2], plan=plan, progress=False, **call)
    assert seen == [0, 1, 2, 0, 1, 2, 3, 4, 5, 6, 7]
    moved = Previewer(sdxl).transform(sheet, Translate(16, 0), batch_size=2, output_type="latent")
    assert not torch.equal(moved[0].image, moved[1].image)
    alone = Previewer(sdxl).transform([sheet[1]], Translate(16, 0), output_type="latent")[0].image
    torch.testing.assert_close(moved[1].image, alone, rtol=1e-3, atol=1e-3)


def test_sizes_and_arguments(sd: Any, sdxl: Any) -> None:
    previewer = Previewer(sd)
    with pytest.raises(UnsupportedError, match=r"multiples of 32 pixels.*nearest: 96x64 or 128x96"):
        previewer.preview(PROMPT, seeds=[1], **CALL | {"height": 72, "width": 104})
    with pytest.raises(UnsupportedError, match="only text to image"):
        previewer.preview(PROMPT, seeds=[1], ip_adapter_image=object(), **CALL)
    with pytest.raises(UnsupportedError, match="ends early"):
        Previewer(sdxl).preview(PROMPT, seeds=[1], denoising_end=0.8, **CALL)
    small = {k: v for k, v in CALL.items() if k not in ("height", "width")}
    (item,) = previewer.preview(PROMPT, seeds=[1], progress=False, **small | {"num_inference_steps": 4})
    assert item.image.size == (256, 256)  # half of the UNet's own 64 cells


def test_a_moved_image_of_a_stochastic_run_is_refused(sd: Any) -> None:
    from diffusers import EulerAncestralDiscreteScheduler

    kept, sd.scheduler = sd.scheduler, EulerAncestralDiscreteScheduler(**LEADING)
    try:
        (item,) = Previewer(sd).preview(PROMPT, seeds=[1], progress=False, **CALL)
        with pytest.raises(UnsupportedError, match=r"draws fresh noise.*deterministic"):
            Previewer(sd).transform(item, Translate(8, 0))
    finally:
        sd.scheduler = kept
