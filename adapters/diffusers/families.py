"""The pipelines this adapter drives, as data, and those it does not, each with the reason and the way out.

Nothing about a family's ids, packing or decoding is written here: calls are ordinary pipeline calls and the layout is
probed (layout.py). A family only says what must be known before the first call, what it needs at another size than the
user's, and which states rule it out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import lcm, sqrt
from typing import Any

import torch

from ..errors import UnsupportedError
from .caches import cache_config, check_cache
from .schedulers import binding_of, draws

FROM_IMAGE = (
    "its run starts from a noised image at a middle time, not from noise; use the pipeline that starts from noise, or "
    "a plain call"
)
MASKED = (
    "it keeps a masked picture, in the latents after every step or beside them in what the model sees, outside the "
    "sampler that previews follow; use the pipeline without a mask, or a plain call"
)
VIDEO_FROM_IMAGE = (
    "its frames start from an encoded picture, not from noise alone, and no test covers it; use the text-to-video "
    "pipeline, or a plain call"
)
AUDIO = "it denoises sound along with the picture, and sound has no resolution to lower; use a plain call"
REFUSED = {
    **dict.fromkeys(
        (
            "ChromaImg2ImgPipeline",
            "FluxControlImg2ImgPipeline",
            "FluxControlNetImg2ImgPipeline",
            "FluxImg2ImgPipeline",
            "QwenImageImg2ImgPipeline",
            "StableDiffusion3Img2ImgPipeline",
            "ZImageImg2ImgPipeline",
        ),
        FROM_IMAGE,
    ),
    **dict.fromkeys(
        (
            "ChromaInpaintPipeline",
            "Flux2KleinInpaintPipeline",
            "FluxControlInpaintPipeline",
            "FluxControlNetInpaintPipeline",
            "FluxFillPipeline",
            "FluxInpaintPipeline",
            "FluxKontextInpaintPipeline",
            "QwenImageControlNetInpaintPipeline",
            "QwenImageEditInpaintPipeline",
            "QwenImageInpaintPipeline",
            "StableDiffusion3ControlNetInpaintingPipeline",
            "StableDiffusion3InpaintPipeline",
            "ZImageControlNetInpaintPipeline",
            "ZImageInpaintPipeline",
        ),
        MASKED,
    ),
    **dict.fromkeys(
        (
            "HunyuanSkyreelsImageToVideoPipeline",
            "HunyuanVideo15ImageToVideoPipeline",
            "HunyuanVideoImageToVideoPipeline",
            "Kandinsky5I2VPipeline",
            "LTXConditionPipeline",
            "LTXImageToVideoPipeline",
            "SkyReelsV2ImageToVideoPipeline",
        ),
        VIDEO_FROM_IMAGE,
    ),
    **dict.fromkeys(("LTX2Pipeline", "LTX2ConditionPipeline", "LTX2ImageToVideoPipeline"), AUDIO),
    "WanVideoToVideoPipeline": FROM_IMAGE,
}
STEP_NUMBERS = "it is tied to step numbers, which a preview's tail changes"
SPATIAL, LATENT = "vae_scale_factor_spatial", "vae_scale_factor"
KEEP = "the pipeline cannot make two previews of given embeddings in one call; give prompts"
CONTROLNET = {
    "control_guidance_start": STEP_NUMBERS,
    "control_guidance_end": STEP_NUMBERS,
}
ADAPTER = {
    "ip_adapter_image": "only text to image is supported",
    "ip_adapter_image_embeds": "only text to image is supported",
}
KANDINSKY = {
    f"{sign}prompt_{name}": KEEP for sign in ("", "negative_") for name in ("embeds_qwen", "embeds_clip", "cu_seqlens")
}


@dataclass(frozen=True)
class Settings:
    """Changes for a call at a size of ours: call arguments, and attributes of the pipeline for that call only."""

    call: Mapping[str, Any] = field(default_factory=dict)
    attributes: Mapping[str, Any] = field(default_factory=dict)


# From the pipeline, the user's call (height and width included), and the height and width of ours.
Low = Callable[[Any, Mapping[str, Any], int, int], Settings]


def nothing(pipe: Any, call: Mapping[str, Any], height: int, width: int) -> Settings:
    """Height and width are all that the pipeline needs."""
    return Settings()


def same_area(pipe: Any, call: Mapping[str, Any], height: int, width: int) -> Settings:
    """Kontext scales every size to an area of `max_area` pixels."""
    return Settings({"max_area": height * width})


def no_binning(pipe: Any, call: Mapping[str, Any], height: int, width: int) -> Settings:
    """Sana and PixArt replace every size by the nearest that the model was trained on."""
    return Settings({"use_resolution_binning": False})


def one_resolution(pipe: Any, call: Mapping[str, Any], height: int, width: int) -> Settings:
    """Kandinsky 5 replaces every size by the nearest of `pipe.resolutions`."""
    return Settings(attributes={"resolutions": [(width, height)]})


def sample_size(pipe: Any, call: Mapping[str, Any], height: int, width: int) -> Settings:
    """HiDream scales every size to the area of a square of `default_sample_size` cells, rounding sides down."""
    side = sqrt(height * width) / pipe.vae_scale_factor
    return Settings(attributes={"default_sample_size": side * (1 + 1e-7)})


def size_conditions(pipe: Any, call: Mapping[str, Any], height: int, width: int) -> Settings:
    """SDXL tells its model sizes: those of the final at any resolution."""
    final = (call["height"], call["width"])
    return Settings({name: call.get(name) or final for name in ("original_size", "target_size")})


def none(pipe: Any) -> str | None:
    """Any state will do."""
    return None


STATELESS = ("ClassifierFreeGuidance", "TangentialClassifierFreeGuidance")


def guiders(pipe: Any) -> str | None:
    """HunyuanImage combines its predictions in guiders; some remember, or count steps. It can also flow by means."""
    if pipe.transformer.config.get("use_meanflow"):
        return "a mean-flow model also gets the time of the next step, which a preview changes; use a model without"
    for name in ("guider", "ocr_guider"):
        guider = getattr(pipe, name, None)
        if guider is None:
            continue
        config = guider.config
        if type(guider).__name__ not in STATELESS or config.get("start", 0.0) != 0.0 or config.get("stop", 1.0) != 1.0:
            return (
                f"pipe.{name} ({type(guider).__name__}) remembers earlier steps or counts them, and a finish does not "
                f"repeat the recorded ones; set pipe.{name} = ClassifierFreeGuidance(guidance_scale=3.5), whole run"
            )
    return None


@dataclass(frozen=True)
class NoiseForm:
    """How a pipeline arranges the noise that it draws; spatial latents are (batch, ..., channels, height, width).

    Attributes:
        channels_last: drawn as (batch, frames, height, width, channels), spatial as (batch, channels, frames, ...).
        patch: drawn as (batch, channels * patch^2, height / patch, width / patch), the position inside a patch fastest.
    """

    channels_last: bool = False
    patch: int = 1

    def spatial(self, drawn: torch.Tensor) -> torch.Tensor:
        """Noise as drawn to spatial latents."""
        x = drawn.movedim(-1, 1) if self.channels_last else drawn
        if self.patch == 1:
            return x
        b, c, h, w = x.shape
        p = self.patch
        return x.reshape(b, c // p**2, p, p, h, w).permute(0, 1, 4, 2, 5, 3).reshape(b, c // p**2, h * p, w * p)

    def drawn(self, spatial: torch.Tensor) -> torch.Tensor:
        """Spatial latents to noise as the pipeline would have drawn it."""
        x = spatial
        if self.patch != 1:
            b, c, h, w = x.shape
            p = self.patch
            x = x.reshape(b, c, h // p, p, w // p, p).permute(0, 1, 3, 5, 2, 4).reshape(b, c * p**2, h // p, w // p)
        return x.movedim(1, -1) if self.channels_last else x


@dataclass(frozen=True)
class Family:
    """One pipeline class.

    Attributes:
        pipeline: class name. denoiser: attribute of the model that is evaluated; a second one of the same name with
            `_2` at its end belongs to it (Wan 2.2).
        packing: side of the square of latent cells that the pipeline packs into one token, or that the denoiser folds
            into one; None reads the denoiser's `patch_size`, or the number of times a UNet halves.
        cell: the pipeline's attribute that holds the pixels along the side of a latent cell.
        unit: pixels of which the pipeline wants sides to be multiples, whatever its cells.
        noise: how the noise that the pipeline draws is arranged.
        conditions: arguments with images that go to both resolutions as they are; the pipeline resizes them.
        refused: call arguments that a preview cannot honour, each with the reason, unless they have their defaults.
        video: whether a call makes frames. low: what a call at another size than the user's needs; see py.
        fault: why a pipeline in its present state cannot be driven, or None.
        sides_together: whether the pipeline ignores a height that comes without a width, and the other way round.
    """

    pipeline: str
    denoiser: str = "transformer"
    packing: int | None = 1
    cell: str = LATENT
    unit: int = 1
    noise: NoiseForm = field(default_factory=NoiseForm)
    conditions: tuple[str, ...] = ()
    refused: Mapping[str, str] = field(default_factory=dict)
    video: bool = False
    low: Low = nothing
    fault: Callable[[Any], str | None] = none
    sides_together: bool = False

    def cell_size(self, pipe: Any) -> int:
        """Pixels along the side of a latent cell."""
        return int(getattr(pipe, self.cell))

    def size_unit(self, pipe: Any) -> int:
        """Pixels of which every image side must be a multiple for this pipeline."""
        config = getattr(pipe, self.denoiser).config
        packing = self.packing or config.get("patch_size") or 2 ** (len(config.block_out_channels) - 1)
        return lcm(self.cell_size(pipe) * int(packing), self.unit)


FAMILIES = {
    f.pipeline: f
    for f in (
        Family("FluxPipeline", packing=2),
        Family("FluxControlPipeline", packing=2, conditions=("control_image",)),
        Family("FluxControlNetPipeline", packing=2, conditions=("control_image",), refused=CONTROLNET),
        Family("FluxKontextPipeline", packing=2, conditions=("image",), low=same_area),
        Family("Flux2Pipeline", packing=2, noise=NoiseForm(patch=2), conditions=("image",)),
        Family("Flux2KleinPipeline", packing=2, noise=NoiseForm(patch=2), conditions=("image",)),
        Family(
            "StableDiffusion3Pipeline",
            packing=None,
            refused={"skip_guidance_layers": f"skip-layer guidance: {STEP_NUMBERS}"},
        ),
        Family("StableDiffusionPipeline", "unet", packing=None, refused=ADAPTER, sides_together=True),
        Family(
            "StableDiffusionXLPipeline",
            "unet",
            packing=None,
            refused=ADAPTER | {"denoising_end": "a run that ends early has no image to preview"},
            low=size_conditions,
        ),
        Family("StableDiffusion3ControlNetPipeline", packing=None, conditions=("control_image",), refused=CONTROLNET),
        Family("ChromaPipeline", packing=2),
        Family("QwenImagePipeline", packing=2),
        Family("ZImagePipeline", packing=2, refused={"prompt_embeds": KEEP, "negative_prompt_embeds": KEEP}),
        Family("AuraFlowPipeline", packing=2),
        Family("Lumina2Pipeline", packing=2, refused={"cfg_trunc_ratio": STEP_NUMBERS}),
        Family("CogView4Pipeline", packing=2, unit=16),
        Family("HunyuanImagePipeline", packing=2, fault=guiders),
        Family(
            "HiDreamImagePipeline",
            packing=2,
            low=sample_size,
            refused={f"{sign}prompt_embeds_{name}": KEEP for sign in ("", "negative_") for name in ("t5", "llama3")},
        ),
        Family("SanaPipeline", unit=32, low=no_binning),
        Family("PixArtSigmaPipeline", packing=None, low=no_binning),
        Family("OvisImagePipeline", packing=2),
        Family("CogView4ControlPipeline", packing=2, unit=16, conditions=("control_image",)),
        Family("WanPipeline", cell=SPATIAL, packing=2, unit=16, video=True),
        Family("WanImageToVideoPipeline", cell=SPATIAL, packing=2, unit=16, conditions=("image",), video=True),
        Family("SkyReelsV2Pipeline", cell=SPATIAL, packing=2, unit=16, video=True),
        Family("HunyuanVideoPipeline", cell=SPATIAL, packing=2, unit=16, video=True),
        Family("LTXPipeline", cell="vae_spatial_compression_ratio", unit=32, video=True),
        Family(
            "Kandinsky5T2IPipeline",
            cell=SPATIAL,
            packing=2,
            noise=NoiseForm(channels_last=True),
            low=one_resolution,
            refused=KANDINSKY,
        ),
        Family(
            "Kandinsky5T2VPipeline",
            refused=KANDINSKY,
            cell=SPATIAL,
            packing=2,
            unit=16,
            noise=NoiseForm(channels_last=True),
            video=True,
        ),
    )
}


def family_of(pipe: Any) -> Family:
    """The family of a pipeline; UnsupportedError for a class, scheduler or state that previews cannot drive."""
    name = type(pipe).__name__
    if name in REFUSED:
        raise UnsupportedError(f"{name} is not supported: {REFUSED[name]}")
    if name not in FAMILIES:
        raise UnsupportedError(f"{name} is not supported; supported pipelines: {', '.join(sorted(FAMILIES))}")
    family = FAMILIES[name]
    binding_of(pipe.scheduler)
    if draws(pipe.scheduler) and not hasattr(pipe, "prepare_extra_step_kwargs"):
        raise UnsupportedError(
            f"{type(pipe.scheduler).__name__} draws fresh noise in its steps, and {name} hands it no generator: "
            "no seed repeats such a run; use FlowMatchEulerDiscreteScheduler without stochastic_sampling"
        )
    models = denoisers(pipe, family.denoiser)
    for model in models:
        check_cache(model, family.denoiser)
        if len(models) > 1 and cache_config(model) is not None:
            raise UnsupportedError(
                f"{name} with two models and a cache on one of them: the second begins in the middle of the run, where "
                "previews do not know its cache's step; call disable_cache()"
            )
    fault = family.fault(pipe)
    if fault is not None:
        raise UnsupportedError(f"{name}: {fault}")
    return family


def denoisers(pipe: Any, denoiser: str) -> list[Any]:
    """The models that a run evaluates: `pipe.transformer`, and `pipe.transformer_2` where there is one."""
    found = (getattr(pipe, name, None) for name in (denoiser, f"{denoiser}_2"))
    return [model for model in found if model is not None]
