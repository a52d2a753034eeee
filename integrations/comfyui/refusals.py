"""What the nodes cannot preview or transform, refused before a model is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import comfy.model_base
import comfy.model_sampling
from comfy.samplers import KSAMPLER

from ...adapters.errors import UnsupportedError
from ...adapters.k_diffusion.calling import name_of
from ...commutator import Path, Plan, RectifiedFlow, VarianceExploding

# Conditions in cells of the latent that they were made for. ComfyUI itself fits masks, `concat_latent_image` and hints
# to the size of each run.
FIXED = frozenset(
    {
        "camera_conditions",
        "control_video",
        "keyframe_idxs",
        "noise_concat",
        "pose_video_latent",
        "time_dim_concat",
        "vace_frames",
        "vace_mask",
    }
)


class ReplayingSampler(KSAMPLER):
    """Runs a sampler of the user's more than once or in part, and so cannot be run that way itself."""


def require_sampler(sampler: Any) -> KSAMPLER:
    """UnsupportedError for a sampler that is no function of the k-diffusion contract, is adaptive, or reads the model's
    inside."""
    if not isinstance(sampler, KSAMPLER) or type(sampler).sample is not KSAMPLER.sample:
        raise UnsupportedError(
            f"{type(sampler).__name__} runs a loop of its own, which cannot be replayed; use one of KSamplerSelect"
        )
    if isinstance(sampler, ReplayingSampler):
        raise UnsupportedError(
            "this sampler is a finish or a transform already; connect the sampler of KSamplerSelect that it was made of"
        )
    name = name_of(sampler.sampler_function)
    if "_cfg_pp" in name or sampler.extra_options.get("cfg_pp"):
        raise UnsupportedError(
            f"{name} reads the unguided prediction from inside the model, where a recorded answer leaves none; "
            "use the sampler without _cfg_pp"
        )
    if "dpm_adaptive" in name:
        raise UnsupportedError(
            "dpm_adaptive chooses its steps by the values of the latent; use a sampler with fixed steps"
        )
    return sampler


def require_latent(latent: Mapping[str, Any], plan: Plan) -> None:
    """UnsupportedError for latents that are nested, of no picture, or with a side that the scale does not divide."""
    samples = latent["samples"]
    if getattr(samples, "is_nested", False):
        raise UnsupportedError(
            "this latent holds several tensors (sound beside video); a preview makes one smaller: sample them apart"
        )
    if samples.ndim < 4 or latent.get("type") == "audio":
        raise UnsupportedError(
            f"a latent of the dims {tuple(samples.shape)} has no height and width to make smaller (sound and meshes "
            "have none); sample it without a preview"
        )
    scale, sides = plan.scale, tuple(samples.shape[-2:])
    if any((side / scale).denominator != 1 for side in sides):
        step = scale.numerator
        fit = [max(step, round(side / step) * step) for side in sides]
        raise UnsupportedError(
            f"a latent of {sides[1]}x{sides[0]} cells cannot be made smaller by {scale}: both sides must be multiples "
            f"of {step}; the nearest is {fit[1]}x{fit[0]}"
        )


def low_stage(plan: Plan) -> int:
    """The index of the stage that changes the resolution. UnsupportedError for a plan without one or with several."""
    changes = [i for i, stage in enumerate(plan.stages) if stage.operator is not None]
    if len(changes) != 1:
        raise UnsupportedError(
            f"this plan has {len(changes)} resolutions below the final's, and the conditions are fitted to one: use a "
            "plan with one"
        )
    return changes[0]


def require_conditions(conds: Mapping[str, Any], model: Any) -> None:
    """UnsupportedError for conditions with places in latent cells that cannot be scaled down."""
    present = {key for group in conds.values() for cond in group for key, value in cond.items() if value is not None}
    if "gligen" in present:
        raise UnsupportedError("GLIGEN boxes are places in the large latent; use area or masked conditions instead")
    # WAN's classes lay a reference over the latent's own cells; other models give it cells of its own.
    fixed = FIXED | {"reference_latents"} if isinstance(model, comfy.model_base.WAN21) else FIXED
    if found := sorted(present & fixed):
        raise UnsupportedError(
            f"the condition {found[0]!r} is laid over the cells of the large latent, and ComfyUI does not fit it to a "
            "small one; sample without a preview, or without this condition"
        )


def path_of(model_sampling: Any) -> Path:
    """The probability path of a model. UnsupportedError for one that does not go from noise to an image."""
    if isinstance(model_sampling, comfy.model_sampling.IMG_TO_IMG):
        raise UnsupportedError("this model goes from image to image, not from noise: there is nothing to preview")
    if isinstance(model_sampling, comfy.model_sampling.CONST):
        return RectifiedFlow()
    if isinstance(model_sampling, (comfy.model_sampling.EPS, comfy.model_sampling.COSMOS_RFLOW)):
        return VarianceExploding()
    raise UnsupportedError(f"{type(model_sampling).__name__} is a noise schedule that the preview does not know")
