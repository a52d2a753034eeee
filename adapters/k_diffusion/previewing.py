"""A preview: the sampler at high resolution up to the switch, then at low resolution to the end."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from ...commutator import Path, Plan, Tape, VarianceExploding
from ..errors import UnsupportedError
from .calling import Call, Sampler, checked_latent, checked_sigmas, require_recordable
from .denoiser import CommutantDenoiser, Evaluations
from .generators import kept
from .proxy import Model
from .taping import tape_of
from .walking import Walk, require_correctable, require_replayable, seeds_itself, walk_of


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
    call = Call(sampler, sigmas, dict(extra_args or {}), disable, sampler_options)
    checked_latent(x)
    checked_sigmas(sigmas)
    with kept(x.device):
        denoiser = _checked(call, model, x, plan, path or VarianceExploding())
    with kept(x.device):
        with denoiser.high(x):
            call.drawing(denoiser.noise_sampler)(denoiser, x.clone(), callback)
        with denoiser.low() as (start, low_sigmas):
            low = call.along(low_sigmas).drawing(denoiser.noise_sampler)
            out = low(denoiser, start, denoiser.callback(callback))
    assert denoiser.recording is not None
    return Preview(denoiser.latent(out), tape_of(call, denoiser.recording, denoiser.path, plan), denoiser.evaluations)


def _checked(call: Call, model: Model, x: torch.Tensor, plan: Plan, path: Path) -> CommutantDenoiser:
    """The denoiser for the preview, after every refusal that can be made without asking the model."""
    require_recordable(call)
    _require_followed(plan)
    if path.name not in ("variance-exploding", "rectified-flow"):
        raise UnsupportedError(f"path {path.name!r} is none of k-diffusion's: use VarianceExploding or RectifiedFlow")
    shorter = plan.tail is not None and plan.tail != len(call.sigmas) - 1 - plan.switch
    if shorter and not call.follows_sigmas:
        raise UnsupportedError(f"{call.name} makes its own schedule from sigma_min and sigma_max: use tail=None")
    if shorter and call.options.get("noise_sampler") is None and seeds_itself(call, model, x):
        raise UnsupportedError(
            f"{call.name} seeds its own noise for the range of its sigmas, which another tail changes; use "
            "tail=None or give a noise_sampler"
        )

    def walk(of: torch.Tensor) -> Walk:
        return walk_of(call.along(of), model, x)

    require_replayable(call, model, x)  # first: what it refuses has no walk to speak of
    denoiser = CommutantDenoiser(model, plan, call.sigmas, path=path, walk=walk)
    denoiser.require_fits(x)
    if plan.guidance is not None and plan.guidance.kind in ("exact", "lagged"):
        require_correctable(call, walk(call.sigmas), model, x, plan.guidance.kind)
    return denoiser


def _require_followed(plan: Plan) -> None:
    """UnsupportedError for what a plan asks of the loop, which here is the sampler's own."""
    if plan.tail == 0:
        raise UnsupportedError(
            "a plan with tail=0 has no low-resolution run; for fewer steps run the sampler on fewer sigmas, for the "
            "denoised prediction of a step use its callback"
        )
    if plan.order == 2:
        raise UnsupportedError("order=2 is for loops of ours; here pass a sampler of that order, such as dpmpp_2m")
    if plan.settle is not None:
        raise UnsupportedError("a head that ends when it has settled is not supported here; give a fixed switch")
