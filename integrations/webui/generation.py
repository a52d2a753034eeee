"""The one call in which a preview or a finish happens: it replaces the call of the program's sampler.

The program calls `p.sampler.func(denoiser, x, extra_args=..., **options)` and swallows errors of the hooks before it,
but not of the call itself. So the replacement never raises what the plain call would not: a comment says what cannot be
done, the generators are set back, and the plain sampler runs.
"""

from __future__ import annotations

import functools
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from ...adapters.errors import UnsupportedError
from ...adapters.k_diffusion import finish, image_of, preview
from ...commutator import Path, Plan, Tape, TapeError
from .accordion import INFOTEXT, Settings
from .sampler import ImageNoise, ProgramDenoiser, noise_levels, path_of, rng_state, set_rng_state, with_noise_sampler
from .tapes import TapeStore, key_of

LEVELS = ("sigmas", "sigma_min", "sigma_max", "n", "noise_sampler")


@dataclass
class Outcome:
    """The result of one generation: whether its last batch was previewed or finished, and the comments of all."""

    previewed: bool = False
    finished: bool = False
    reused: int = 0  # model answers that a finish took from the tape
    comments: list[str] = field(default_factory=list)


def wrap(p: Any, settings: Settings, store: TapeStore, outcome: Outcome) -> None:
    """Replace `p.sampler.func` until it is called."""
    sampler, func = p.sampler, p.sampler.func

    @functools.wraps(func)  # the program reads the signature to see what the sampler takes
    def replacement(model: Any, x: torch.Tensor, *args: Any, **extra: Any) -> Any:
        sampler.func = func
        run = SamplerCall(p, func, model, x, args, extra)
        return run.previewed(settings, store, outcome) if settings.mode == "preview" else run.finished(store, outcome)

    replacement.commutant = True  # type: ignore[attr-defined]
    sampler.func = replacement


def is_wrapped(p: Any) -> bool:
    """Whether the sampler has been wrapped already: a program may fire its hook twice for one sampling."""
    return bool(getattr(p.sampler.func, "commutant", False))


@dataclass
class SamplerCall:
    """One call of the program's sampler."""

    p: Any
    func: Callable[..., Any]
    model: Any
    x: torch.Tensor
    args: tuple[Any, ...]
    extra: Mapping[str, Any]

    def plain(self) -> Any:
        """The latent without a preview."""
        return self.func(self.model, self.x, *self.args, **self.extra)

    def previewed(self, settings: Settings, store: TapeStore, outcome: Outcome) -> Any:
        """A low-resolution latent, its tapes stored; the plain latent where that cannot be, with a comment."""
        p, found = self.p, rng_state(self.p.rng)
        outcome.previewed = False
        for name in INFOTEXT:  # of an earlier batch
            p.extra_generation_params.pop(name, None)
        try:
            result = self._preview(settings)
            for index in range(len(self.x)):
                store.put(key_of(p, index), image_of(result.tape, index))
        except Exception as error:
            self._reset(found)
            _comment(p, outcome, f"{_reason(error)}. Sampled without preview.")
            return self.plain()
        outcome.previewed = True
        p.extra_generation_params.update(settings.infotext())
        # The first pass is the picture's composition; a second pass would only enlarge the preview.
        if getattr(p, "enable_hr", False):
            p.enable_hr = False
        return result.latent

    def finished(self, store: TapeStore, outcome: Outcome) -> Any:
        """The plain call's latent; its first model answers come from the tape where there is one."""
        p, found = self.p, rng_state(self.p.rng)
        outcome.finished = False
        if len(self.x) != 1:
            _comment(p, outcome, "Preview: a finish goes one image at a time. Computed from the seed.")
            return self.plain()
        tape = store.get(key_of(p, 0))
        if tape is None:
            _comment(p, outcome, "Preview: the recorded beginning is no longer kept. Computed from the seed.")
            return self.plain()
        try:
            latent = self._finish(tape)
        except TapeError as error:
            self._reset(found)
            _comment(p, outcome, f"Preview: the recorded beginning does not fit ({error}). Computed from the seed.")
            return self.plain()
        outcome.finished, outcome.reused = True, tape.recorded
        return latent

    def _preview(self, settings: Settings) -> Any:
        sigmas = noise_levels(self.extra)
        steps = len(sigmas) - 1
        # A sampler that seeds a Brownian tree for the range of its sigmas would seed another one on a shorter tail.
        options = getattr(getattr(self.p.sampler, "config", None), "options", None) or {}
        own_tree = options.get("brownian_noise", False) and self.extra.get("noise_sampler") is None
        plan = settings.plan(steps, tail=not own_tree)
        try:
            return self._preview_by(plan, sigmas)
        except UnsupportedError:
            if plan.steps is None:
                raise
            return self._preview_by(settings.plan(steps, tail=False), sigmas)

    def _preview_by(self, plan: Plan, sigmas: torch.Tensor) -> Any:
        path = path_of(self.p.sd_model)
        denoiser = self._denoiser()
        denoiser.index = _CallCount(self.model, plan, path, sigmas, tuple(self.x.shape))
        with denoiser.full_precision(self.x.device.type):
            return preview(
                self._sampler(),
                denoiser,
                self.x,
                sigmas,
                plan,
                path=path,
                noise_sampler=self._noise(),
                **self._options(),
            )

    def _finish(self, tape: Tape) -> Any:
        if tape.noise.shape != self.x.shape or not torch.equal(torch.as_tensor(tape.noise).to(self.x), self.x):
            raise TapeError("it began with other noise")
        self.model.step = tape.recorded  # recorded calls count too: prompt editing depends on this number
        return finish(
            self._sampler(),
            self._denoiser(),
            tape,
            noise_levels(self.extra),
            noise_sampler=self._noise(),
            **self._options(),
        )

    def _sampler(self) -> Callable[..., Any]:
        return with_noise_sampler(self.func, given=self.extra.get("noise_sampler") is not None)

    def _noise(self) -> ImageNoise:
        return ImageNoise(self.p.rng, self.extra.get("noise_sampler"))

    def _denoiser(self) -> ProgramDenoiser:
        given, sampler = self.extra.get("extra_args") or {}, self.p.sampler
        return ProgramDenoiser(self.model, lambda: getattr(sampler, "sampler_extra_args", None) or given)

    def _options(self) -> dict[str, Any]:
        """All but the levels, the noise and the conditions, `callback` and `disable` included."""
        return {k: v for k, v in self.extra.items() if k not in (*LEVELS, "extra_args")}

    def _reset(self, found: list[Any]) -> None:
        set_rng_state(self.p.rng, found)
        self.model.step = 0


class _CallCount:
    """The number of calls that the final's own run makes before it comes to the noise level of a call.

    None for the calls of a head: it is that run, and counts by itself.
    """

    def __init__(self, model: Any, plan: Plan, path: Path, sigmas: torch.Tensor, shape: tuple[int, ...]) -> None:
        self._path, self._size = path, shape[-2:]
        self._levels = [float(s) for s in sigmas]
        coarse = any(stage.scale == 1 for stage in plan.stages)
        # At the final's size: down to this level the head, below it stages on a schedule of their own.
        self._head_end = self._levels[plan.head] * (1 - 1e-3) if coarse else 0.0
        gain, self._gains = 1.0, {self._size: 1.0}
        for i, stage in enumerate(plan.stages):
            for operator in stage.candidates(plan.scale_before(i))[:1]:
                own = operator.noise_gain(shape)
                gain *= own if stage.time == "matched" and own is not None else 1.0
                shape = tuple(operator.out_shape(shape))
            self._gains[shape[-2:]] = gain
        self._calls = max(1, int(getattr(model, "total_steps", 0) or 0) // max(1, int(getattr(model, "steps", 0) or 1)))

    def __call__(self, x: torch.Tensor, sigma: torch.Tensor) -> int | None:
        size, level = tuple(x.shape[-2:]), float(sigma.reshape(-1)[0])
        if size == self._size and level >= self._head_end:
            return None
        level = self._path.transport(1.0 / self._gains[size], level)[1]
        passed = sum(level <= s * (1 + 1e-3) for s in self._levels[:-1])
        return max(0, passed - 1) * self._calls


def _reason(error: Exception) -> str:
    if isinstance(error, ValueError):  # refusals of the adapter and of the settings
        return f"Preview: {error}"
    traceback.print_exc()
    return f"Preview failed, {type(error).__name__}: {error}"


def _comment(p: Any, outcome: Outcome, text: str) -> None:
    outcome.comments.append(text)
    p.comment(text)
