"""The two sides of a sampler: how it is called, by the contract of k-diffusion's `sample_*`, and the model it asks."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import torch

from ..errors import UnsupportedError

Sampler = Callable[..., Any]
Model = Callable[..., Any]


@dataclass(frozen=True)
class Call:
    """One call of a sampler, its model and latent left open.

    Samplers that take `sigma_min` and `sigma_max` (and maybe `n`) in place of `sigmas`, as `sample_dpm_fast` does, get
    the smallest positive and the first sigma and the number of steps.
    """

    sampler: Sampler
    sigmas: torch.Tensor
    extra_args: Mapping[str, Any]
    disable: bool | None
    options: Mapping[str, Any]

    @property
    def name(self) -> str:
        return name_of(self.sampler)

    @property
    def follows_sigmas(self) -> bool:
        """Whether the sampler takes a list of sigmas."""
        names = _parameters(self.sampler)
        return "sigmas" in names or not {"sigma_min", "sigma_max"} <= names

    def __call__(self, model: Any, x: torch.Tensor, callback: Callable[[Any], Any] | None = None) -> Any:
        """Run the sampler from `x`."""
        common = {"extra_args": dict(self.extra_args), "callback": callback, "disable": self.disable}
        if self.follows_sigmas:
            return self.sampler(model, x, self.sigmas, **common, **self.options)
        ends = {"sigma_min": float(self.sigmas[self.sigmas > 0].min()), "sigma_max": float(self.sigmas[0])}
        if "n" in _parameters(self.sampler):
            ends["n"] = len(self.sigmas) - 1
        return self.sampler(model, x, **ends, **common, **self.options)

    def quiet(self) -> Call:
        """The same without a progress bar."""
        return replace(self, disable=True)

    def on(self, sigmas: torch.Tensor) -> Call:
        """The same on another schedule."""
        return replace(self, sigmas=sigmas)

    def on_a_copy(self) -> Call:
        """The same on a copy of the schedule: some samplers (uni_pc) write to the one that they are given."""
        return self.on(self.sigmas.clone())

    def with_extra_args(self, extra_args: Mapping[str, Any] | None) -> Call:
        """The same with other `extra_args`, where there are any."""
        return self if extra_args is None else replace(self, extra_args=dict(extra_args))

    def with_noise(self, wrapped: Callable[[Any], Any]) -> Call:
        """The same with `wrapped(noise_sampler)` in place of the given noise sampler, where one was given."""
        given = self.options.get("noise_sampler")
        return self if given is None else replace(self, options={**self.options, "noise_sampler": wrapped(given)})


class ScheduleError(UnsupportedError):
    """The sampler cannot run on a schedule of another length: the way out is one stage with steps=None."""


class Stop(BaseException):
    """Ends a sampler that has done what it ran for. BaseException: a sampler's `except Exception` must not stop it."""


class Proxy:
    """Stands in a model's place: attributes it lacks are the model's, so that samplers can read `model.inner_model`."""

    def __init__(self, model: Model) -> None:
        self._model = model

    def __getattr__(self, name: str) -> Any:
        if name == "_model":  # not there yet, as while copying: asking for it again would never end
            raise AttributeError(name)
        return getattr(self._model, name)


def level(sigma: Any) -> float:
    """The noise level of a model call: samplers pass one sigma per sample, all equal."""
    return float(torch.as_tensor(sigma).reshape(-1)[0])


def require_recordable(call: Call) -> None:
    """UnsupportedError for a sampler that needs more of its model than its answers."""
    if call.name.endswith("_cfg_pp"):
        raise UnsupportedError(
            f"{call.name} reads the unguided prediction from inside the model, where a recorded answer leaves none; "
            "use the sampler without _cfg_pp"
        )


def name_of(sampler: Sampler) -> str:
    """The function's own name, without the module: samplers are vendored under many."""
    while isinstance(sampler, functools.partial):
        sampler = sampler.func
    return str(getattr(sampler, "__name__", type(sampler).__name__))


def checked_sigmas(sigmas: Any) -> list[float]:
    """The schedule as floats. TypeError or ValueError unless it is a falling list of at least two noise levels."""
    if not isinstance(sigmas, torch.Tensor) or not sigmas.is_floating_point() or sigmas.ndim != 1:
        raise TypeError(f"sigmas must be a one-dimensional floating tensor, got {sigmas!r:.80}")
    levels = [float(s) for s in sigmas.tolist()]
    falling = all(a >= b for a, b in pairwise(levels))
    if len(levels) < 2 or not all(0 <= s < float("inf") for s in levels) or levels[0] <= 0 or not falling:
        raise ValueError(f"sigmas must fall from a positive noise level, without infinities or NaN, got {levels}")
    return levels


def checked_latent(x: Any) -> torch.Tensor:
    """TypeError or ValueError unless `x` is a batch of floating latents, (batch, ..., height, width)."""
    if not isinstance(x, torch.Tensor) or not x.is_floating_point():
        raise TypeError(f"x must be a floating tensor, got {getattr(x, 'dtype', type(x).__name__)}")
    if x.ndim < 3:
        raise ValueError(f"x must have the dims (batch, ..., height, width), got {tuple(x.shape)}")
    return x


def _parameters(sampler: Sampler) -> set[str]:
    try:
        return set(inspect.signature(sampler).parameters)
    except (TypeError, ValueError):  # not every callable tells; the contract is assumed then
        return {"sigmas"}
