"""A preview in two calls, for programs that bind their model to a resolution: its conditions, masks and hints."""

from __future__ import annotations

from collections.abc import Callable, Mapping
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


class Halves:
    """The head and the tail of one preview.

        halves = Halves(plan, path)
        halves.high(sampler, model, x, sigmas, extra_args)
        latent = halves.low(model_of_the_low_resolution, its_extra_args)
        halves.tape  # for `finish`

    torch's global generators are left as they were found by each of the two, also by exceptions.
    """

    def __init__(self, plan: Plan, path: Path | None = None) -> None:
        self.plan, self.path = plan, path or VarianceExploding()
        self._call: Call | None = None
        self._denoiser: CommutantDenoiser | None = None

    def high(
        self,
        sampler: Sampler,
        model: Model,
        x: torch.Tensor,
        sigmas: torch.Tensor,
        extra_args: Mapping[str, Any] | None = None,
        callback: Callable[[Any], Any] | None = None,
        disable: bool | None = None,
        **sampler_options: Any,
    ) -> None:
        """Record the head. Arguments and errors: those of `preview`."""
        call = Call(sampler, sigmas, dict(extra_args or {}), disable, sampler_options)
        checked_latent(x)
        checked_sigmas(sigmas)
        with kept(x.device):
            denoiser = checked_denoiser(call, model, x, self.plan, self.path)
        with kept(x.device), denoiser.high(x):
            call.apart().drawing(denoiser.noise_sampler)(denoiser, x.clone(), callback)
        self._call, self._denoiser = call, denoiser

    def low(
        self,
        model: Model | None = None,
        extra_args: Mapping[str, Any] | None = None,
        callback: Callable[[Any], Any] | None = None,
    ) -> torch.Tensor:
        """The low-resolution latent. `model` and `extra_args`: where they differ from the head's."""
        call, denoiser = self._recorded()
        with denoiser.low(model, extra_args) as (start, low_sigmas):
            low = call.along(low_sigmas).apart().drawing(denoiser.noise_sampler).given(extra_args)
            out = low(denoiser, start, denoiser.callback(callback))
        return denoiser.latent(out)

    @property
    def tape(self) -> Tape:
        """The recorded head, for `finish`."""
        call, denoiser = self._recorded()
        assert denoiser.recording is not None
        return tape_of(call, denoiser.recording, denoiser.path, self.plan)

    @property
    def evaluations(self) -> Evaluations:
        return self._recorded()[1].evaluations

    @property
    def low_levels(self) -> tuple[float, ...]:
        """The noise levels of the low-resolution steps as the model knows them, and the end."""
        return self._recorded()[1].low_levels()

    @property
    def choice(self) -> tuple[int, ...] | None:
        """Which candidate operator each sample got; None where the plan has one for all, or before `low`."""
        return self._recorded()[1].choice

    def _recorded(self) -> tuple[Call, CommutantDenoiser]:
        if self._call is None or self._denoiser is None:
            raise RuntimeError("record the head first: `halves.high(...)`")
        return self._call, self._denoiser


def checked_denoiser(call: Call, model: Model, x: torch.Tensor, plan: Plan, path: Path) -> CommutantDenoiser:
    """The denoiser for a preview, after every refusal that can be made without asking the model."""
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
