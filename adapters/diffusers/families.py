"""The pipelines this adapter drives, as data.

Nothing about a family's layout, ids or decoding is written here: calls are ordinary pipeline calls and the layout is
probed (layout.py). A family only says what must be known before the first call in order to refuse a bad size.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from .errors import UnsupportedError
from .schedulers import binding_of, draws


@dataclass(frozen=True)
class Family:
    """One pipeline class.

    Attributes:
        pipeline: class name. denoiser: attribute of the model that is evaluated.
        packing: side of the square of latent cells that the pipeline packs into one token, or that the denoiser folds
            into one; None reads the denoiser's `patch_size`, or the number of times a UNet halves.
        refused: call arguments that a preview cannot honour, each with the reason.
        told_sizes: call arguments with sizes that the model is conditioned on: a low-resolution call keeps those of the
            final.
    """

    pipeline: str
    denoiser: str
    packing: int | None
    refused: dict[str, str] = field(default_factory=dict)
    told_sizes: tuple[str, ...] = ()

    def size_unit(self, pipe: Any) -> int:
        """Pixels of which every image side must be a multiple for this pipeline."""
        config = getattr(pipe, self.denoiser).config
        packing = self.packing or config.get("patch_size") or 2 ** (len(config.block_out_channels) - 1)
        return int(pipe.vae_scale_factor * packing)


IMAGES = {
    "ip_adapter_image": "only text to image is supported",
    "ip_adapter_image_embeds": "only text to image is supported",
}

FAMILIES = {
    f.pipeline: f
    for f in (
        Family("FluxPipeline", "transformer", packing=2),
        Family(
            "StableDiffusion3Pipeline",
            "transformer",
            packing=None,
            refused={
                "skip_guidance_layers": "skip-layer guidance is tied to step numbers, which a preview's tail changes",
            },
        ),
        Family("StableDiffusionPipeline", "unet", packing=None, refused=IMAGES),
        Family(
            "StableDiffusionXLPipeline",
            "unet",
            packing=None,
            refused=IMAGES | {"denoising_end": "a run that ends early has no image to preview"},
            told_sizes=("original_size", "target_size"),
        ),
    )
}


def family_of(pipe: Any) -> Family:
    """The family of a pipeline; UnsupportedError for a class, scheduler or state that previews cannot drive."""
    name = type(pipe).__name__
    if name not in FAMILIES:
        raise UnsupportedError(f"{name} is not supported; supported pipelines: {', '.join(sorted(FAMILIES))}")
    family = FAMILIES[name]
    binding_of(pipe.scheduler)
    if draws(pipe.scheduler) and not hasattr(pipe, "prepare_extra_step_kwargs"):
        raise UnsupportedError(
            f"{type(pipe.scheduler).__name__} draws fresh noise in its steps, and {name} hands it no generator: "
            "no seed repeats such a run; use FlowMatchEulerDiscreteScheduler without stochastic_sampling"
        )
    if getattr(getattr(pipe, family.denoiser), "is_cache_enabled", False):
        raise UnsupportedError("a cache is enabled on the transformer; call pipe.transformer.disable_cache() first")
    return family
