"""The denoised prediction carried through pixels: decoded, reduced, encoded again by the pipeline's own autoencoder."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from commutant.adapters.diffusers import Previewer, UnsupportedError
from commutant.adapters.diffusers.autoencoder import reduced
from commutant.adapters.diffusers.lock import held
from commutant.adapters.diffusers.preview import Maker
from commutant.adapters.diffusers.request import checked
from commutant.commutator import Guidance, Plan, RectifiedFlow, Stage, euler

from .conftest import PROMPT, Case
from .test_reference import FluxField, noise_of, unpacked
from .tiny import tiny_sd3
from .tiny_registry import SIZE, VARIANTS
from .tiny_unet import tiny_sd, tiny_sdxl

LAST = Guidance("defect", 2, 1.0, "linear", "last")
PLANS = {
    "staged": Plan(2, (Stage(1, 2, order=2), Stage(2, 3, "pixels", guidance=LAST))),
    "at-the-switch": Plan(3, (Stage(2, 3, "pixels", guidance=Guidance("defect", 2, 1.0)),)),
    "unguided": Plan(3, (Stage(2, 3, "pixels"),)),
    "second-order": Plan(3, (Stage(2, 3, "pixels", order=2),)),
}


def autoencoder(pipe, **call):
    request = checked(pipe, PROMPT, [1], None, 2, call)
    maker = Maker(pipe, request, PLANS["staged"], "", 1, {})
    with held(pipe):
        return maker._autoencoder(1)


def through_pixels(case: Case):
    """Written from the formula: decode, average 2 x 2 pixels, encode; the autoencoder called directly."""
    vae = case.pipe.vae
    scale, shift = vae.config.scaling_factor, getattr(vae.config, "shift_factor", None) or 0.0

    @torch.no_grad()
    def signal(x: torch.Tensor) -> torch.Tensor:
        pictures = (vae.decode(x / scale + shift, return_dict=False)[0] / 2 + 0.5).clamp(0, 1)
        small = torch.nn.functional.avg_pool2d(pictures, 2)
        return (vae.encode(2 * small - 1).latent_dist.mode() - shift) * scale

    return signal


@pytest.mark.parametrize("name", PLANS)
def test_previews_through_pixels_equal_the_reference(flux: Case, name: str) -> None:
    call, plan = flux.call | {"num_inference_steps": 8}, PLANS[name]
    sheet = Previewer(flux.pipe, batch_size=2).preview(
        PROMPT, seeds=[1, 2], plan=plan, progress=False, output_type="latent", **call
    )
    got = unpacked(torch.stack([item.image for item in sheet]), 32, 48)
    path, noise, times = RectifiedFlow(), noise_of(flux, [1, 2]), sheet[0].tape.times
    signals = {"pixels": through_pixels(flux)}
    result = euler.preview(plan, path, FluxField(flux), noise, times, signals)
    torch.testing.assert_close(got, result.latent, rtol=2e-3, atol=1e-3)
    assert sheet[0].cost.high == 2 * result.high_evaluations
    assert sheet[0].cost.low == 2 * result.low_evaluations
    other = euler.preview(plan, path, FluxField(flux), noise, times, {"pixels": lambda x: signals["pixels"](x) + 0.05})
    assert float((got - other.latent).abs().max()) > 0.02  # the comparison can fail
    finals = Previewer(flux.pipe).finish(list(sheet), output_type="latent")
    for final, seed in zip(finals, (1, 2)):
        assert torch.equal(final.image, flux.plain([seed], output_type="latent", num_inference_steps=8)[0])


def variant(name: str):
    return VARIANTS[name].build(), dict(VARIANTS[name].call)


PIPELINES = {
    "flux": lambda: variant("FluxPipeline"),
    "sd3": lambda: (tiny_sd3(), SIZE | {"max_sequence_length": 16}),
    "sd": lambda: (tiny_sd(), SIZE),
    "sdxl": lambda: (tiny_sdxl(), SIZE),
    "sana": lambda: variant("SanaPipeline"),
}


@pytest.mark.parametrize("name", PIPELINES)
def test_encoding_is_the_inverse_of_the_pipelines_own_decoding(name: str) -> None:
    """What the decoder gets for given latents is what the encoder's answers are turned into, whatever the pipeline."""
    pipe, call = PIPELINES[name]()
    made = autoencoder(pipe, **call)
    latents = torch.randn(1, *made.layout.grid, generator=torch.Generator().manual_seed(1))
    seen = []
    original = pipe.vae.decode

    def spy(x, *args, **kwargs):
        seen.append(x.detach().clone())
        return original(x, *args, **kwargs)

    pipe.vae.decode = spy
    try:
        pictures = made.decoded(latents)
    finally:
        del pipe.vae.decode
    assert 0 <= float(pictures.min()) <= float(pictures.max()) <= 1
    raw = (made.scale * latents + made.shift).to(seen[0].dtype)
    torch.testing.assert_close(seen[0].cpu(), raw, rtol=1e-5, atol=1e-5)
    held_back = made.encoded(pictures)
    assert held_back.shape == latents.shape
    encoded = pipe.vae.encode((2 * pictures - 1).to(pipe.vae.dtype))
    mode = encoded.latent_dist.mode() if hasattr(encoded, "latent_dist") else encoded.latent
    torch.testing.assert_close(made.scale * held_back + made.shift, mode.float().cpu(), rtol=1e-4, atol=1e-4)


def test_nothing_stays_on_the_autoencoder(flux: Case) -> None:
    before = dict(vars(flux.pipe.vae))
    Previewer(flux.pipe).preview(PROMPT, seeds=[1], plan=PLANS["staged"], progress=False, **flux.call)
    assert dict(vars(flux.pipe.vae)) == before


def test_pictures_are_reduced_by_area() -> None:
    x = torch.rand(2, 3, 12, 18)
    torch.testing.assert_close(reduced(x, 6, 9), torch.nn.functional.avg_pool2d(x, 2))


def test_refused_before_any_evaluation() -> None:
    case = VARIANTS["LTXPipeline"]
    pipe, calls = case.build(), []
    pipe.transformer.register_forward_pre_hook(lambda *a: calls.append(1))
    call = {k: v for k, v in case.arguments().items() if k != "prompt"}
    with pytest.raises(UnsupportedError, match="single pictures; use operator 'spectral'"):
        Previewer(pipe).preview(
            None if case.embedded else PROMPT, seeds=[1], plan=PLANS["unguided"], progress=False, **call
        )
    assert calls == []


def test_plans_through_pixels_refuse_what_they_cannot_carry() -> None:
    with pytest.raises(ValueError, match="carries a denoised prediction"):
        Plan(0, (Stage(2, 3, "pixels"),))
    with pytest.raises(ValueError, match="time must be 'matched'"):
        Plan(2, (Stage(2, 3, "fitted", time="same"),))


def test_one_preview_of_a_batch_is_the_preview_alone(flux: Case) -> None:
    previewer = Previewer(flux.pipe, batch_size=3)
    call = flux.call | {"output_type": "np"}
    together = previewer.preview(PROMPT, seeds=[1, 2, 3], plan=PLANS["staged"], progress=False, **call)
    alone = previewer.preview(PROMPT, seeds=[2], plan=PLANS["staged"], progress=False, **call)
    np.testing.assert_allclose(together[1].image, alone[0].image, atol=1e-4)
