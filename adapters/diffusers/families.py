"""The pipelines this adapter drives, as data.

Nothing about a family's ids, packing or decoding is written here: calls are ordinary pipeline calls and the layout is
probed (layout.py). A family only says what must be known before the first call.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import lcm
from typing import Any

from . import quirks
from .cache_support import cache_config, check_cache
from .errors import UnsupportedError
from .layout import NoiseForm
from .refused import REFUSED
from .schedulers import binding_of, draws

STEP_NUMBERS = "it is tied to step numbers, which a preview's tail changes"
SPATIAL, LATENT = "vae_scale_factor_spatial", "vae_scale_factor"
KEEP = "the pipeline cannot make two previews of given embeddings in one call; give prompts"


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
        video: whether a call makes frames. low: what a call at another size than the user's needs; see quirks.py.
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
    low: quirks.Low = quirks.nothing
    fault: Callable[[Any], str | None] = quirks.none
    sides_together: bool = False

    def cell_size(self, pipe: Any) -> int:
        """Pixels along the side of a latent cell."""
        return int(getattr(pipe, self.cell))

    def size_unit(self, pipe: Any) -> int:
        """Pixels of which every image side must be a multiple for this pipeline."""
        config = getattr(pipe, self.denoiser).config
        packing = self.packing or config.get("patch_size") or 2 ** (len(config.block_out_channels) - 1)
        return lcm(self.cell_size(pipe) * int(packing), self.unit)


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

FAMILIES = {
    f.pipeline: f
    for f in (
        Family("FluxPipeline", packing=2),
        Family("FluxControlPipeline", packing=2, conditions=("control_image",)),
        Family("FluxControlNetPipeline", packing=2, conditions=("control_image",), refused=CONTROLNET),
        Family("FluxKontextPipeline", packing=2, conditions=("image",), low=quirks.same_area),
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
            low=quirks.told_sizes,
        ),
        Family("StableDiffusion3ControlNetPipeline", packing=None, conditions=("control_image",), refused=CONTROLNET),
        Family("ChromaPipeline", packing=2),
        Family("QwenImagePipeline", packing=2),
        Family("ZImagePipeline", packing=2, refused={"prompt_embeds": KEEP, "negative_prompt_embeds": KEEP}),
        Family("AuraFlowPipeline", packing=2),
        Family("Lumina2Pipeline", packing=2, refused={"cfg_trunc_ratio": STEP_NUMBERS}),
        Family("CogView4Pipeline", packing=2, unit=16),
        Family("HunyuanImagePipeline", packing=2, fault=quirks.guiders),
        Family(
            "HiDreamImagePipeline",
            packing=2,
            low=quirks.sample_size,
            refused={f"{sign}prompt_embeds_{name}": KEEP for sign in ("", "negative_") for name in ("t5", "llama3")},
        ),
        Family("SanaPipeline", unit=32, low=quirks.no_binning),
        Family("PixArtSigmaPipeline", packing=None, low=quirks.no_binning),
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
            low=quirks.one_resolution,
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
