"""What previews cannot do is refused by name, with the way out, before the model is evaluated once."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler, FlowMatchLCMScheduler
from diffusers.callbacks import SD3CFGCutoffCallback

from commutant.adapters.diffusers import Previewer, UnsupportedError
from commutant.adapters.diffusers.layout import Layout, positions
from commutant.adapters.diffusers.request import check_size
from commutant.commutator import Plan, Stage, preset

from ..commutator.plans import low
from .conftest import PROMPT, Case


@pytest.fixture
def refused(case: Case):
    """Expect a refusal without a single model call."""

    def never(module: Any, args: Any) -> None:
        raise AssertionError("the model was evaluated before the refusal")

    handles = [
        m.register_forward_pre_hook(never)
        for m in (case.pipe.transformer, case.pipe.text_encoder, case.pipe.vae.decoder)
    ]

    def expect(error: type[Exception], match: str, **changes: Any) -> None:
        arguments = {"seeds": [1], "progress": False, **case.call, **changes}
        with pytest.raises(error, match=match):
            Previewer(case.pipe).preview(arguments.pop("prompt", PROMPT), **arguments)

    yield expect
    for handle in handles:
        handle.remove()


def test_sizes(refused) -> None:
    refused(UnsupportedError, "multiples of 32 pixels.*nearest: 96x64 or 128x96", height=72, width=104)
    refused(UnsupportedError, "multiples of 32 pixels", height=64, width=80)
    refused(UnsupportedError, "multiples of 64 pixels.*nearest: 64x64 or 128x64", width=96, scale=Fraction(4, 3))


def test_arguments(refused) -> None:
    refused(UnsupportedError, "give seeds or generator", latents=torch.zeros(1))
    refused(UnsupportedError, "one seed per image", num_images_per_prompt=2)
    refused(UnsupportedError, "masks are not supported", mask_image=object())
    refused(UnsupportedError, "only text to image", image=object())
    refused(TypeError, "no argument 'hight'", hight=64)
    refused(ValueError, "either seeds", seeds=None)
    refused(ValueError, "either seeds", generator=torch.Generator())
    refused(ValueError, "seeds is empty", seeds=[])
    refused(TypeError, "torch.Generator", seeds=None, generator=["x"])
    refused(ValueError, "one per image: got 2 for 3", prompt=["a", "b"], seeds=[1, 2, 3])
    refused(ValueError, "give a prompt", prompt=None)


def test_plans(refused) -> None:
    refused(ValueError, "unknown preset 'best'", plan="best")
    refused(ValueError, "choose head <= 5", plan=low(6))
    refused(ValueError, "a plan of other stages", plan=preset("matched", 6), scale=4)
    refused(UnsupportedError, "makes its own schedule", plan=Plan(0, (Stage(1, 3),)), sigmas=[1.0, 0.7, 0.4])
    refused(ValueError, "integer scale", plan="paper", scale=Fraction(3, 2), height=96, width=96)


def test_sd3_arguments(sd3: Case) -> None:
    with pytest.raises(UnsupportedError, match="skip-layer guidance"):
        Previewer(sd3.pipe).preview(PROMPT, seeds=[1], skip_guidance_layers=[1], **sd3.call)
    callback = SD3CFGCutoffCallback(cutoff_step_ratio=0.4)
    with pytest.raises(UnsupportedError, match="SD3CFGCutoffCallback"):
        Previewer(sd3.pipe).preview(PROMPT, seeds=[1], callback_on_step_end=callback, **sd3.call)


def test_schedulers(flux: Case) -> None:
    kept = flux.pipe.scheduler
    try:
        flux.pipe.scheduler = FlowMatchLCMScheduler()
        with pytest.raises(UnsupportedError, match=r"FlowMatchLCMScheduler.*FlowMatchEulerDiscreteScheduler.from_conf"):
            Previewer(flux.pipe)
        flux.pipe.scheduler = FlowMatchEulerDiscreteScheduler(stochastic_sampling=True)
        with pytest.raises(UnsupportedError, match="FluxPipeline hands it no generator"):
            Previewer(flux.pipe)
        flux.pipe.scheduler = FlowMatchEulerDiscreteScheduler(invert_sigmas=True)
        with pytest.raises(UnsupportedError, match="invert_sigmas=True"):
            Previewer(flux.pipe)
    finally:
        flux.pipe.scheduler = kept


def test_pipelines_and_caches(flux: Case) -> None:
    class OtherPipeline:
        pass

    with pytest.raises(UnsupportedError, match=r"OtherPipeline is not supported; supported pipelines: .*FluxPipeline"):
        Previewer(OtherPipeline())
    flux.pipe.transformer.__dict__["_cache_config"] = object()
    try:
        with pytest.raises(UnsupportedError, match="disable_cache"):
            Previewer(flux.pipe)
    finally:
        del flux.pipe.transformer.__dict__["_cache_config"]


def test_unknown_layouts() -> None:
    shape = (1, 2, 4, 4)
    kept = positions(shape)
    Layout.probed(shape, kept, "Pipe")
    for broken in (kept[:, :, :2], kept * 0.5, kept.flip(-1) * 0, kept.to(torch.bfloat16) + 0.1):
        with pytest.raises(UnsupportedError, match="no permutation"):
            Layout.probed(shape, broken, "Pipe")


def test_flux_layout_is_the_pipelines_own(flux: Case) -> None:
    previewer = Previewer(flux.pipe)
    previewer.preview(PROMPT, seeds=[1], progress=False, **flux.call)
    layout = previewer._layouts[64, 96]
    x = torch.randn(3, 4, 8, 12, generator=torch.Generator().manual_seed(0))
    packed = flux.pipe._pack_latents(x, 3, 4, 8, 12)
    assert torch.equal(layout.solver(x, torch.float32), packed)
    assert torch.equal(layout.spatial(packed), x)


@pytest.mark.parametrize("scale", [Fraction(2), Fraction(3), Fraction(4, 3), Fraction(3, 2)])
def test_the_nearest_sizes_named_are_valid(scale: Fraction) -> None:
    for size in range(24, 400, 24):
        with pytest.raises(UnsupportedError) as refusal:
            check_size(16, scale, size, size + 8, "Pipe")
        for pair in str(refusal.value).rsplit("nearest: ", 1)[1].split(" or "):
            width, height = (int(n) for n in pair.split("x"))
            check_size(16, scale, height, width, "Pipe")
            assert (height / scale) % 16 == 0
            assert (width / scale) % 16 == 0
