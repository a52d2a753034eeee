"""A ComfyUI sampler that transforms the image while it forms."""

from __future__ import annotations

import hashlib
import math
from typing import Any

import torch
from comfy.samplers import KSAMPLER

from ...adapters.errors import UnsupportedError
from ...adapters.k_diffusion import transform
from ...operators import Affine, Flip, LinearOperator, Translate
from .refusals import ReplayingSampler, path_of

FLIPS = {"none": (1.0, 1.0), "horizontal": (-1.0, 1.0), "vertical": (1.0, -1.0)}


def pixel_operator(right: int, down: int, degrees: float, zoom: float, flip: str) -> LinearOperator:
    """The operator in pixels: flip, then zoom, rotate and translate, in one; exact where it is only a flip or only a
    translation. `degrees`: counter-clockwise."""
    rotated, zoomed, translated = degrees % 360.0 != 0.0, zoom != 1.0, (right, down) != (0, 0)
    if not rotated and not zoomed and flip == "none":
        return Translate(right, down)
    if not rotated and not zoomed and not translated:
        return Flip(flip)
    across, upright = FLIPS[flip]
    cos, sin = zoom * math.cos(math.radians(degrees)), zoom * math.sin(math.radians(degrees))
    # The columns are where one pixel to the right and one pixel down go.
    matrix = ((cos * across, sin * upright, right), (-sin * across, cos * upright, down))
    return Affine(matrix, fill="reflect")


def transforming(sampler: KSAMPLER, operator: LinearOperator, at: int | None, seed: int) -> KSAMPLER:
    """`sampler` with the image transformed by `operator` at step `at`; None: 2/5 of the steps.

    The sampler raises UnsupportedError, before the model is called, for runs that do not begin with pure noise or that
    cannot be transformed. `seed`: of what comes into view.
    """

    def sample(model: Any, x: torch.Tensor, sigmas: torch.Tensor, extra_args: Any, **options: Any) -> torch.Tensor:
        _require_empty(model, x, extra_args)
        path = path_of(model.inner_model.model_patcher.get_model_object("model_sampling"))
        seeds = [_seed_of(image, seed) for image in x]
        return transform(
            sampler.sampler_function, model, x, sigmas, operator, extra_args, at=at, seeds=seeds, path=path, **options
        )

    return ReplayingSampler(sample, sampler.extra_options, sampler.inpaint_options)


def _require_empty(model: Any, x: torch.Tensor, extra_args: Any) -> None:
    if x.ndim < 4:
        raise UnsupportedError(f"a latent of the dims {tuple(x.shape)} has no height and width to move an image in")
    if extra_args.get("denoise_mask") is not None:
        raise UnsupportedError("a masked latent stays where it is while the rest would move; transform without a mask")
    if model.latent_image is not None and bool(torch.count_nonzero(model.latent_image)):
        raise UnsupportedError(
            "this run does not begin with pure noise, from which its image can be told apart: use an empty latent image"
        )


def _seed_of(image: torch.Tensor, seed: int) -> int:
    """A seed from an image's own first noise: the transform does not depend on what else is in the batch."""
    digest = hashlib.sha256(image.detach().cpu().float().numpy().tobytes() + seed.to_bytes(8, "big")).digest()
    return int.from_bytes(digest[:8], "big")
