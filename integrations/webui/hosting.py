"""The program's sampler and model in the k-diffusion adapter's terms.

Two things are the program's own. It takes noise from `p.rng`, whose shape is fixed at high resolution, by standing in
for `torch` inside `k_diffusion.sampling`; here that noise becomes a `noise_sampler` that the adapter can remember and
see through an operator. And its denoiser counts calls, which prompt editing and others live by; here the count is set
to that of the high-resolution run.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import torch

from ...operators.arrays import autocasts

Noise = Callable[..., torch.Tensor]
SAMPLING = "k_diffusion.sampling"


class TorchWith:
    """`torch`, whose `randn_like` is `noise()`."""

    def __init__(self, noise: Noise) -> None:
        self._noise = noise

    def __getattr__(self, name: str) -> Any:
        return getattr(torch, name)

    def randn_like(self, x: torch.Tensor, **_: Any) -> torch.Tensor:
        return self._noise().to(x)


@contextmanager
def standing_in(stand_in: Any) -> Iterator[None]:
    """A block in which `k_diffusion.sampling.torch` is `stand_in`; afterwards it is what it was."""
    module: ModuleType | None = sys.modules.get(SAMPLING)
    if module is None or not hasattr(module, "torch"):
        yield
        return
    found = module.torch
    module.torch = stand_in  # type: ignore[attr-defined]
    try:
        yield
    finally:
        module.torch = found  # type: ignore[attr-defined]


class NoiseOf:
    """The noise of one image generation: `p.rng` without arguments, the given noise sampler with them."""

    def __init__(self, rng: Any, given: Noise | None) -> None:
        self._rng, self._given = rng, given

    def __call__(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        if not args and not kwargs:
            noise: torch.Tensor = self._rng.next()
            return noise
        assert self._given is not None, "a sampler asks with levels only where a noise sampler was given to it"
        return self._given(*args, **kwargs)


def hosted(sampler: Callable[..., Any], *, given: bool) -> Callable[..., Any]:
    """`sampler` with all its noise from its `noise_sampler`; `given`: whether the program gave it one of its own.

    The signature stays the sampler's, so that whoever reads it sees what the sampler takes.
    """

    @functools.wraps(sampler)
    def run(model: Any, x: torch.Tensor, *args: Any, noise_sampler: Noise, **kwargs: Any) -> Any:
        own = {"noise_sampler": noise_sampler} if given else {}
        with standing_in(TorchWith(noise_sampler)):
            return sampler(model, x, *args, **own, **kwargs)

    return run


class Denoiser:
    """The program's denoiser as the adapter asks it: `(x, sigma) -> denoised`.

    Conditions are read anew for every call from `sampler.sampler_extra_args`, where other extensions may change them.
    Attributes are the denoiser's.
    """

    def __init__(self, inner: Any, extra_args: Callable[[], Mapping[str, Any]]) -> None:
        self._inner, self._extra_args = inner, extra_args
        self.index: Callable[[torch.Tensor, torch.Tensor], int | None] = lambda x, sigma: None
        self._autocast: tuple[bool, torch.dtype] | None = None

    def __getattr__(self, name: str) -> Any:
        if name == "_inner":
            raise AttributeError(name)
        return getattr(self._inner, name)

    def __call__(self, x: torch.Tensor, sigma: torch.Tensor, **_: Any) -> torch.Tensor:
        index = self.index(x, sigma)
        if index is not None:
            self._inner.step = index
        with _autocast(x.device.type, self._autocast):
            answer: torch.Tensor = self._inner(x, sigma, **self._extra_args())
        return answer

    @contextmanager
    def exact(self, device: str) -> Iterator[None]:
        """A block whose operators are not rounded by the program's autocast; the model still runs in it."""
        self._autocast = _autocast_of(device)
        try:
            with _autocast(device, None if self._autocast is None else (False, self._autocast[1])):
                yield
        finally:
            self._autocast = None


def noise_levels(extra: Mapping[str, Any]) -> torch.Tensor:
    """The schedule a sampler is called with. Samplers that make their own from `sigma_min`, `sigma_max` and `n` get a
    list from which the adapter reads exactly these: its first, its smallest positive entry and its length."""
    sigmas = extra.get("sigmas")
    if isinstance(sigmas, torch.Tensor):
        return sigmas
    first, last, n = float(extra["sigma_max"]), float(extra["sigma_min"]), int(extra["n"])
    between = torch.linspace(first, last, max(n, 2), dtype=torch.float64)
    between[0], between[-1] = first, last
    return torch.cat([between, between.new_zeros(1)])


def rng_state(rng: Any) -> list[Any]:
    """Where the program's image generators are."""
    generators = getattr(rng, "generators", [])
    return [g.get_state() if isinstance(g, torch.Generator) else dict(vars(g)) for g in generators]


def set_rng_state(rng: Any, saved: list[Any]) -> None:
    """Set them back."""
    for generator, state in zip(getattr(rng, "generators", []), saved):
        if isinstance(generator, torch.Generator):
            generator.set_state(state)
        else:  # the program's own Philox generator: a seed and an offset
            vars(generator).update(state)


@contextmanager
def _autocast(device: str, wanted: tuple[bool, torch.dtype] | None) -> Iterator[None]:
    if wanted is None:
        yield
        return
    enabled, dtype = wanted
    with torch.autocast(device, dtype=dtype, enabled=enabled):
        yield


def _autocast_of(device: str) -> tuple[bool, torch.dtype] | None:
    """Whether the program computes in a lower precision here, and in which. Old releases of torch ask by device."""
    if not autocasts(device):
        return None
    if hasattr(torch, "get_autocast_dtype"):
        return True, torch.get_autocast_dtype(device)
    return True, torch.get_autocast_gpu_dtype() if device == "cuda" else torch.get_autocast_cpu_dtype()
