"""The pipelines this adapter drives, as data.

Nothing about a family's layout, ids or decoding is written here: calls are ordinary pipeline calls and the layout is
probed (layout.py). A family only says what must be known before the first call in order to refuse a bad size.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from .cache_support import check_cache
from .errors import UnsupportedError


@dataclass(frozen=True)
class Family:
    """One pipeline class.

    Attributes:
        pipeline: class name. denoiser: attribute of the model that is evaluated.
        packing: side of the square of latent cells that the pipeline packs into one token; None reads the
            denoiser's `patch_size`.
        refused: call arguments that a preview cannot honour, each with the reason.
    """

    pipeline: str
    denoiser: str
    packing: int | None
    refused: dict[str, str] = field(default_factory=dict)

    def size_unit(self, pipe: Any) -> int:
        """Pixels of which every image side must be a multiple for this pipeline."""
        packing = self.packing or getattr(pipe, self.denoiser).config.patch_size
        return int(pipe.vae_scale_factor * packing)


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
    )
}

SCHEDULERS = ("FlowMatchEulerDiscreteScheduler",)


def family_of(pipe: Any) -> Family:
    """The family of a pipeline; UnsupportedError for a class, scheduler or state that previews cannot drive."""
    name = type(pipe).__name__
    if name not in FAMILIES:
        raise UnsupportedError(f"{name} is not supported; supported pipelines: {', '.join(sorted(FAMILIES))}")
    family = FAMILIES[name]
    scheduler = type(pipe.scheduler).__name__
    if scheduler not in SCHEDULERS:
        raise UnsupportedError(
            f"scheduler {scheduler} is not supported; use pipe.scheduler = {SCHEDULERS[0]}.from_config("
            "pipe.scheduler.config)"
        )
    for flag, why in (
        ("stochastic_sampling", "draws fresh noise at every step"),
        ("invert_sigmas", "runs its times upwards"),
    ):
        if pipe.scheduler.config.get(flag):
            raise UnsupportedError(
                f"{scheduler} with {flag}=True {why}, which previews do not follow; set it to False: pipe.scheduler = "
                f"{scheduler}.from_config(pipe.scheduler.config, {flag}=False)"
            )
    check_cache(getattr(pipe, family.denoiser), family.denoiser)
    return family
