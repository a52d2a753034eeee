"""What is sampled plainly, with a comment below the image that says why. Asked before anything is wrapped."""

from __future__ import annotations

import inspect
from typing import Any


def reason(p: Any) -> str | None:
    """Why the generation `p` cannot be previewed, or None."""
    sampler = getattr(p, "sampler", None)
    func = getattr(sampler, "func", None)
    name = str(getattr(p, "sampler_name", None) or getattr(func, "__name__", "this sampler"))
    if not callable(func) or not hasattr(sampler, "model_wrap_cfg"):
        return f"{name} is no sampler of the k-diffusion kind"
    parameters = _parameters(func)
    if "timesteps" in parameters or not ("sigmas" in parameters or {"sigma_min", "n"} <= parameters):
        if {"sigma_min", "sigma_max"} <= parameters:
            return f"{name} chooses its steps by the picture (adaptive); use a sampler with fixed steps"
        return f"{name} has a schedule of its own kind; use a k-diffusion sampler, such as Euler a or DPM++ 2M"
    if "cfg_pp" in _name(func) or "CFG++" in name:
        return f"{name} reads more of the model than its answer; use the sampler without CFG++"
    if getattr(p, "mask", None) is not None or getattr(p, "image_mask", None) is not None:
        return "a mask is in use"
    if getattr(p, "is_using_inpainting_conditioning", False) or getattr(p.sd_model, "is_inpaint", False):
        return "the model is an inpainting model"
    if _concatenates(p.sd_model):
        return "the model sees another picture beside the latent"
    if getattr(p, "refiner_checkpoint_info", None) is not None:
        return "a refiner is set: its change of model has no place in a preview"
    return None


def _concatenates(model: Any) -> bool:
    unet = getattr(getattr(model, "forge_objects", None), "unet", None)
    if unet is not None:
        return getattr(unet, "extra_concat_condition", None) is not None
    key = getattr(getattr(model, "model", None), "conditioning_key", None)
    return key in ("hybrid", "concat")


def is_flow(model: Any) -> bool:
    """Whether the model is a rectified flow (Flux, SD3): its noise levels are times between 0 and 1."""
    unet = getattr(getattr(model, "forge_objects", None), "unet", None)
    predictor = getattr(getattr(unet, "model", None), "predictor", None)
    if predictor is not None:
        return getattr(predictor, "prediction_type", None) == "const"
    return bool(getattr(model, "is_sd3", False))


def _parameters(func: Any) -> set[str]:
    try:
        return set(inspect.signature(func).parameters)
    except (TypeError, ValueError):
        return set()


def _name(func: Any) -> str:
    return str(getattr(func, "__name__", ""))
