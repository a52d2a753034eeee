"""A preview: the sampler at high resolution to the end of the head, then once more for every stage of the plan.

In one call, or in two for programs that bind their model to a resolution: its conditions, masks and hints.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from ...commutator import Path, Plan, Tape, VarianceExploding
from ...commutator.plan import SIGNAL
from ..errors import UnsupportedError
from .calling import Call, Model, Sampler, ScheduleError, checked_latent, checked_sigmas, require_recordable
from .denoiser import CommutantDenoiser, Evaluations, reschedules
from .randomness import preserved
from .rehearsal import Walk, require_correctable, require_first_order, require_replayable, seeds_itself, walk_of
from .tape import tape_of


@dataclass(frozen=True)
class Preview:
    """A preview's latent, the tape from which `finish` makes the final's, and what it cost."""

    latent: torch.Tensor
    tape: Tape
    evaluations: Evaluations

    def __repr__(self) -> str:
        return f"Preview({tuple(self.latent.shape)}, {self.evaluations}, {self.tape.recorded} recorded)"


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
    own_sigmas: torch.Tensor | None = None,
    **sampler_options: Any,
) -> Preview:
    """A preview of `sampler(model, x, sigmas, ...)`.

    Args:
        x: sigmas[0] times unit noise, (batch, ..., height, width).
        sigmas: of the final, N + 1 falling noise levels.
        plan: `head` and the `steps` of its stages count the sampler's steps; guidance counts model answers. Without a
            low-resolution stage the latent is of x's size; without stages to run, it is the last denoised prediction.
        extra_args: of the model, in every call.
        callback: called for the head's steps and for those of the stages, each once.
        path: VarianceExploding() unless given; RectifiedFlow() for sigmas in [0, 1] with x = (1 - sigma) x_0 +
            sigma eps. In both the model answers with the denoised latent.
        own_sigmas: for a plan that begins with a stage of scale 1: its schedule, of `plan.steps` steps from sigmas[0]
            on. None: `sigmas` read at evenly spaced indices.
        sampler_options: whatever else the sampler takes. A `noise_sampler` makes noise of x's shape, and is asked
            about high-resolution sigmas only.

    Returns:
        `latent`: (batch, ..., height / scale, width / scale).

    Raises:
        UnsupportedError, TypeError, ValueError or ShapeError before the model is asked: for a sampler, plan or latent
            that has no exact replay. What the model or the callback raises passes through.

    torch's global generators are left as they were found, also by exceptions.
    """
    calls = TwoCallPreview(plan, path)
    calls.high(sampler, model, x, sigmas, extra_args, callback, disable, own_sigmas=own_sigmas, **sampler_options)
    latent = calls.low(callback=callback)
    return Preview(latent, calls.tape, calls.evaluations)


class TwoCallPreview:
    """A preview in two calls: what runs at the final's resolution, and what runs at a lower one.

        calls = TwoCallPreview(plan, path)
        calls.high(sampler, model, x, sigmas, extra_args)
        latent = calls.low(model_of_the_low_resolution, its_extra_args)
        calls.tape  # for `finish`

    torch's global generators are left as they were found by each of the two, also by exceptions.
    """

    def __init__(self, plan: Plan, path: Path | None = None) -> None:
        self.plan, self.path = plan, path or VarianceExploding()
        self._call: Call | None = None
        self._denoiser: CommutantDenoiser | None = None
        self._out: torch.Tensor | None = None  # what the last run made

    def high(
        self,
        sampler: Sampler,
        model: Model,
        x: torch.Tensor,
        sigmas: torch.Tensor,
        extra_args: Mapping[str, Any] | None = None,
        callback: Callable[[Any], Any] | None = None,
        disable: bool | None = None,
        *,
        own_sigmas: torch.Tensor | None = None,
        **sampler_options: Any,
    ) -> None:
        """Record the head, and run the stages of scale 1. Arguments and errors: those of `preview`."""
        call = Call(sampler, sigmas, dict(extra_args or {}), disable, sampler_options)
        checked_latent(x)
        checked_sigmas(sigmas)
        with preserved(x.device):
            denoiser = checked_denoiser(call, model, x, self.plan, self.path, own_sigmas)
        with preserved(x.device), denoiser.head(x) as (start, levels):
            self._out = start
            call.on(levels).on_a_copy().with_noise(denoiser.noise_sampler)(denoiser, start, callback)
        self._call, self._denoiser = call, denoiser
        for i in self.plan.later:
            if self.plan.stages[i].scale == 1:
                self._stage(None, None, callback)

    def low(
        self,
        model: Model | None = None,
        extra_args: Mapping[str, Any] | None = None,
        callback: Callable[[Any], Any] | None = None,
    ) -> torch.Tensor:
        """The preview's latent, after the stages of lower resolution, where the plan has some.

        `model` and `extra_args`: where they differ from those of `high`. UnsupportedError for these with a plan of
        several low resolutions; RuntimeError before `high`.
        """
        denoiser = self._recorded()[1]
        low = [i for i in self.plan.later if self.plan.stages[i].scale > 1]
        scales = {self.plan.stages[i].scale for i in low}
        if len(scales) > 1 and not (model is None and extra_args is None):
            raise UnsupportedError(
                f"this plan has {len(scales)} low resolutions, and one call binds a model to one: use a plan with one "
                "scale below the final's, or `preview` with a model that takes every size"
            )
        for _ in low:
            self._stage(model, extra_args, callback)
        assert self._out is not None
        return denoiser.latent(self._out)

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
        """The noise levels of the low-resolution run as the model knows them, and the end."""
        return self._recorded()[1].low_levels

    @property
    def choice(self) -> tuple[int, ...] | None:
        """Which candidate operator each sample got; None where the plan has one for all, or before `low`."""
        return self._recorded()[1].choice

    def _stage(
        self, model: Model | None, extra_args: Mapping[str, Any] | None, callback: Callable[[Any], Any] | None
    ) -> None:
        call, denoiser = self._recorded()
        with denoiser.stage(model, extra_args) as (start, levels):
            run = call.on(levels).on_a_copy().with_noise(denoiser.noise_sampler).with_extra_args(extra_args)
            self._out = run(denoiser, start, denoiser.callback(callback))

    def _recorded(self) -> tuple[Call, CommutantDenoiser]:
        if self._call is None or self._denoiser is None:
            raise RuntimeError("record the head first: `TwoCallPreview.high(...)`")
        return self._call, self._denoiser


def checked_denoiser(
    call: Call, model: Model, x: torch.Tensor, plan: Plan, path: Path, own_sigmas: torch.Tensor | None = None
) -> CommutantDenoiser:
    """The denoiser for a preview, after every refusal that can be made without asking the model."""
    require_recordable(call)
    _require_states(plan)
    if path.name not in ("variance-exploding", "rectified-flow"):
        raise UnsupportedError(f"path {path.name!r} is none of k-diffusion's: use VarianceExploding or RectifiedFlow")

    def walk(of: torch.Tensor) -> Walk:
        return walk_of(call.on(of), model, x)

    changes = reschedules(plan, call.sigmas)
    if (changes or (plan.stages and len(plan.later) != 1)) and not call.follows_sigmas:
        raise ScheduleError(
            f"{call.name} makes its own schedule, and number of steps, from sigma_min and sigma_max: use a head and "
            "one stage with steps=None"
        )
    if changes and call.options.get("noise_sampler") is None and seeds_itself(call, model, x):
        raise ScheduleError(
            f"{call.name} seeds its own noise for the range of its sigmas, which stages of another number of steps "
            "change; use one stage with steps=None or give a noise_sampler"
        )
    require_replayable(call, model, x)  # first: what it refuses has no walk to speak of
    denoiser = CommutantDenoiser(model, plan, call.sigmas, path=path, walk=walk, own_sigmas=own_sigmas)
    denoiser.require_fits(x)
    kinds = {stage.guidance.kind for stage in plan.stages if stage.guidance is not None}
    for kind in sorted(kinds & {"exact", "lagged"}):
        require_correctable(call, walk(call.sigmas), model, x, kind)
    if any(stage.order == 2 for stage in plan.stages):
        levels = denoiser.stage_sigmas
        require_first_order(call.on(levels), walk(levels), model, x)
    return denoiser


def _require_states(plan: Plan) -> None:
    """UnsupportedError for operators that carry denoised predictions: a sampler's own state cannot be split here."""
    carried = sorted({stage.operator for stage in plan.stages if stage.operator in SIGNAL})
    if carried:
        raise UnsupportedError(
            f"operator {carried[0]!r} splits the state into signal and noise, and here the state is the sampler's own; "
            "use operator 'spectral', as the preset 'matched' does"
        )
