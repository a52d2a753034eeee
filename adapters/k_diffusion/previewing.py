"""A preview: the sampler at high resolution up to the switch, then at low resolution to the end."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from ...commutator import Path, Plan, Tape
from .calling import Sampler
from .denoiser import Evaluations
from .halves import Halves
from .proxy import Model


@dataclass(frozen=True)
class Preview:
    """A low-resolution latent, the tape from which `finish` makes the high-resolution one, and what it cost."""

    latent: torch.Tensor
    tape: Tape
    evaluations: Evaluations


def preview(
    sampler: Sampler,
    model: Model,
    x: torch.Tensor,
    sigmas: torch.Tensor,
    plan: Plan,
    extra_args: Mapping[str, Any] | None = None,
    callback: Callable[[Any], Any] | None = None,
    disable: bool | None = None,
    *,
    path: Path | None = None,
    **sampler_options: Any,
) -> Preview:
    """A low-resolution preview of `sampler(model, x, sigmas, ...)`.

    Args:
        x: sigmas[0] times unit noise, (batch, ..., height, width).
        plan: `switch` and `tail` count the sampler's steps; guidance counts model answers. With `head_steps`, `sigmas`
            is that coarse schedule, and `finish` takes the final's.
        callback: is told of the head's steps and of the low-resolution steps after the switch.
        path: VarianceExploding() unless given; RectifiedFlow() for sigmas in [0, 1] with x = (1 - sigma) x_0 +
            sigma eps. In both the model answers with the denoised latent.
        sampler_options: whatever else the sampler takes. A `noise_sampler` makes noise of x's shape, and is asked
            about high-resolution sigmas only.

    Raises:
        UnsupportedError, TypeError, ValueError or ShapeError before the model is asked: for a sampler, plan or latent
            that has no exact replay. What the model or the callback raises passes through.

    torch's global generators are left as they were found, also by exceptions.
    """
    halves = Halves(plan, path)
    halves.high(sampler, model, x, sigmas, extra_args, callback, disable, **sampler_options)
    latent = halves.low(callback=callback)
    return Preview(latent, halves.tape, halves.evaluations)
