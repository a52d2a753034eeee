"""Real k-diffusion samplers, closed-form models, and loops of a user's own.

The samplers are those of the published package, loaded without the parts of it that need torchvision and CLIP
(`benchmarks/k_diffusion_sampling.py` says how). Where it is not installed, the tests of this folder are skipped.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from commutant.benchmarks.k_diffusion_sampling import available, samplers, sampling

if not available():
    pytest.skip("k-diffusion is not installed: pip install 'commutant[k-diffusion]'", allow_module_level=True)

import torch

from commutant.commutator import Plan

from ..commutator.plans import low as low_plan

SAMPLERS = samplers()
ADAPTIVE = "sample_dpm_adaptive"
FIXED = [name for name in SAMPLERS if name != ADAPTIVE]
DTYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
STOCHASTIC = [n for n in FIXED if "ancestral" in n or "sde" in n]
CHURNING = ("sample_euler", "sample_heun", "sample_dpm_2")
STEPS = 7


def sigmas(steps: int = STEPS) -> torch.Tensor:
    return sampling().get_sigmas_karras(steps, 0.05, 10.0)


def flow_sigmas(steps: int = STEPS) -> torch.Tensor:
    return torch.linspace(1, 0, steps + 1, dtype=torch.float64) ** 0.8


def latent(
    dtype: torch.dtype = torch.float64, shape: tuple[int, ...] = (2, 3, 8, 8), seed: int = 1, scale: float = 10.0
) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (torch.randn(shape, generator=generator, dtype=torch.float64) * scale).to(dtype)


def wavy(x: torch.Tensor, sigma: torch.Tensor, shift: float = 0.1) -> torch.Tensor:
    """A smooth nonlinear denoiser that mixes neighbours: it commutes with nothing."""
    s = sigma.reshape(-1, *[1] * (x.ndim - 1))
    near = torch.roll(x, 1, dims=-1) + torch.roll(x, 1, dims=-2)
    return (0.7 * torch.tanh(x / (1 + s)) + 0.2 * torch.sin(near) + shift).to(x.dtype)


@dataclass
class Seeing:
    """A model that notes what it is asked: (state, level)."""

    inner: Callable[..., torch.Tensor] = wavy
    asked: list[tuple[torch.Tensor, float]] = field(default_factory=list)
    name: str = "the user's model"

    def __call__(self, x: torch.Tensor, sigma: torch.Tensor, **extra: Any) -> torch.Tensor:
        self.asked.append((x.clone(), float(sigma[0])))
        return self.inner(x, sigma, **extra)

    def of_width(self, width: int) -> list[tuple[torch.Tensor, float]]:
        return [(x, t) for x, t in self.asked if x.shape[-1] == width]


class Drawing:
    """A model that uses random numbers itself, as one with dropout does."""

    def __call__(self, x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        return wavy(x, sigma) + 0.1 * torch.rand_like(x)


def plain(sampler: Any, model: Any, x: torch.Tensor, levels: torch.Tensor, **options: Any) -> torch.Tensor:
    """The user's own call."""
    names = inspect.signature(sampler).parameters
    options = {"disable": True} | options
    if "sigmas" in names:
        return sampler(model, x.clone(), levels, **options)
    ends = {"sigma_min": float(levels[-2]), "sigma_max": float(levels[0])}
    if "n" in names:
        ends["n"] = len(levels) - 1
    return sampler(model, x.clone(), **ends, **options)


def switch_of(name: str) -> int:
    """A switch with steps on both sides: the fast DPM solver makes three steps of seven evaluations."""
    return 1 if name == "sample_dpm_fast" else 3


def mean_plan(name: str = "", head: int | None = None, **stage: Any) -> Plan:
    """A head and one stage of block means."""
    return low_plan(switch_of(name) if head is None else head, **stage)


@contextmanager
def random_state_kept() -> Iterator[None]:
    before = torch.get_rng_state()
    yield
    assert torch.equal(torch.get_rng_state(), before), "torch's global generator was moved"


def relative(one: torch.Tensor, other: torch.Tensor) -> float:
    return float((one.double() - other.double()).abs().max() / other.double().abs().max())
