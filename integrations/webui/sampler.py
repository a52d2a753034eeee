"""The program's sampler and model for the k-diffusion adapter: which of them can be previewed, and how they are called.

Two things are the program's own. It takes noise from `p.rng`, whose shape is fixed at high resolution, by putting an
object in place of `torch` in `k_diffusion.sampling`; here that noise becomes a `noise_sampler`, which the adapter can
record and map through an operator. And its denoiser counts calls, on which prompt editing and others depend; here the
count is set to that of the high-resolution run.
"""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import torch

from ...commutator import Path, RectifiedFlow, VarianceExploding
from ...operators.arrays import autocasts

Noise = Callable[..., torch.Tensor]
SAMPLING = "k_diffusion.sampling"


def refusal(p: Any) -> str | None:
    """Why the generation `p` cannot be previewed, for a comment below the image; None where it can."""
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


def path_of(model: Any) -> Path:
    """The path of the program's model."""
    return RectifiedFlow() if is_flow(model) else VarianceExploding()


def is_flow(model: Any) -> bool:
    """Whether the model is a rectified flow (Flux, SD3): its noise levels are times between 0 and 1."""
    unet = getattr(getattr(model, "forge_objects", None), "unet", None)
    predictor = getattr(getattr(unet, "model", None), "predictor", None)
    if predictor is not None:
        return getattr(predictor, "prediction_type", None) == "const"
    return bool(getattr(model, "is_sd3", False))


class TorchWithNoise:
    """`torch`, with `noise()` as its `randn_like`."""

    def __init__(self, noise: Noise) -> None:
        self._noise = noise

    def __getattr__(self, name: str) -> Any:
        return getattr(torch, name)

    def randn_like(self, x: torch.Tensor, **_: Any) -> torch.Tensor:
        return self._noise().to(x)


@contextmanager
def replaced_torch(replacement: Any) -> Iterator[None]:
    """A block in which `k_diffusion.sampling.torch` is `replacement`; it is set back at the end."""
    module: ModuleType | None = sys.modules.get(SAMPLING)
    if module is None or not hasattr(module, "torch"):
        yield
        return
    found = module.torch
    module.torch = replacement  # type: ignore[attr-defined]
    try:
        yield
    finally:
        module.torch = found  # type: ignore[attr-defined]


class ImageNoise:
    """The noise of one generation: `p.rng` without arguments, the given noise sampler with them."""

    def __init__(self, rng: Any, given: Noise | None) -> None:
        self._rng, self._given = rng, given

    def __call__(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        if not args and not kwargs:
            noise: torch.Tensor = self._rng.next()
            return noise
        assert self._given is not None, "a sampler asks with levels only where a noise sampler was given to it"
        return self._given(*args, **kwargs)


def with_noise_sampler(sampler: Callable[..., Any], *, given: bool) -> Callable[..., Any]:
    """`sampler` with all its noise from its `noise_sampler`; `given`: whether the program passes it one itself.

    The signature stays the sampler's: the program and the adapter read from it what the sampler takes.
    """

    @functools.wraps(sampler)
    def run(model: Any, x: torch.Tensor, *args: Any, noise_sampler: Noise, **kwargs: Any) -> Any:
        own = {"noise_sampler": noise_sampler} if given else {}
        with replaced_torch(TorchWithNoise(noise_sampler)):
            return sampler(model, x, *args, **own, **kwargs)

    return run


class ProgramDenoiser:
    """The program's denoiser as the adapter calls it: `(x, sigma) -> denoised`.

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
    def full_precision(self, device: str) -> Iterator[None]:
        """A block whose operators are not rounded by the program's autocast; the model still runs in it."""
        self._autocast = _autocast_of(device)
        try:
            with _autocast(device, None if self._autocast is None else (False, self._autocast[1])):
                yield
        finally:
            self._autocast = None


def noise_levels(extra: Mapping[str, Any]) -> torch.Tensor:
    """The schedule that a sampler is called with, N + 1 noise levels. For samplers that make their own from
    `sigma_min`, `sigma_max` and `n`, a list from which the adapter reads exactly these: its first, its smallest
    positive entry and its length."""
    sigmas = extra.get("sigmas")
    if isinstance(sigmas, torch.Tensor):
        return sigmas
    first, last, n = float(extra["sigma_max"]), float(extra["sigma_min"]), int(extra["n"])
    between = torch.linspace(first, last, max(n, 2), dtype=torch.float64)
    between[0], between[-1] = first, last
    return torch.cat([between, between.new_zeros(1)])


def rng_state(rng: Any) -> list[Any]:
    """The states of the program's image generators."""
    generators = getattr(rng, "generators", [])
    return [g.get_state() if isinstance(g, torch.Generator) else dict(vars(g)) for g in generators]


def set_rng_state(rng: Any, saved: list[Any]) -> None:
    """Set the generators to states of `rng_state`."""
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
    """Whether autocast is on, and its dtype; None where it is off. Old releases of torch have a function per device."""
    if not autocasts(device):
        return None
    if hasattr(torch, "get_autocast_dtype"):
        return True, torch.get_autocast_dtype(device)
    return True, torch.get_autocast_gpu_dtype() if device == "cuda" else torch.get_autocast_cpu_dtype()


def _parameters(func: Any) -> set[str]:
    try:
        return set(inspect.signature(func).parameters)
    except (TypeError, ValueError):
        return set()


def _name(func: Any) -> str:
    return str(getattr(func, "__name__", ""))
