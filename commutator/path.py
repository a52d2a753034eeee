"""Probability paths `x_t = alpha(t) x_0 + sigma(t) eps`, and where a noise gain moves a state on them.

An operator `A` whose rows sum to one and with `A A^T = g^2 I` turns `x_t` into `alpha A x_0 + g sigma eps'` with `eps'`
white: a state of the low-resolution problem whose noise-to-signal ratio is `g` times smaller (or larger). `transport`
answers the two questions that follow: by which factor to scale it so that it lies on the path again, and at which time.

Relatives: Hoogeboom et al. 2023 (pooling divides the noise, hence shifted schedules), Esser et al. 2024
(resolution-dependent shift). Each path also knows what its models predict, because solvers consume that raw quantity
while commutators are stated in the denoised one.
"""

from __future__ import annotations

import math
import sys
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from ..operators.arrays import Array

ROUNDING = 1e-6  # how far beyond the noisy end a time may lie


@dataclass(frozen=True)
class Path(ABC):
    """One family of marginals. `t` is a float in the family's own unit; each subclass says which.

    Attributes:
        starts_with_noise: whether runs begin with pure noise although alpha is not 0 there, because the path has no
            end at which it would be.
        towards_image: 1 where the raw model output grows with the denoised prediction, -1 where it points from the
            image to the noise.
    """

    name: ClassVar[str]
    starts_with_noise: ClassVar[bool] = False
    towards_image: ClassVar[int]

    @abstractmethod
    def alpha(self, t: float) -> float:
        """Signal coefficient at time `t`."""

    @abstractmethod
    def sigma(self, t: float) -> float:
        """Noise coefficient at time `t`."""

    @abstractmethod
    def transport(self, gain: float, t: float) -> tuple[float, float]:
        """`(scale, t')` such that `scale * (alpha(t), gain * sigma(t)) == (alpha(t'), sigma(t'))`.

        Raises ValueError when `gain` is not positive and finite or `t` is outside the path.
        """

    @abstractmethod
    def denoised(self, output: Array, x: Array, t: float) -> Array:
        """The denoised prediction `x0hat` that a raw model output at `(x, t)` stands for; shapes as `x`."""

    @abstractmethod
    def output(self, denoised: Array, x: Array, t: float) -> Array:
        """The raw model output that stands for a denoised prediction at `(x, t)`: the inverse of `denoised`."""

    def _checked(self, gain: float, t: float, low: float, high: float) -> float:
        """The time, on the path: schedulers compute in float32, and their first time may be 1.0000001."""
        if not (math.isfinite(gain) and gain > 0):
            raise ValueError(f"noise gain must be positive and finite, got {gain}")
        if not low <= t <= high + ROUNDING:
            raise ValueError(f"time {t} is outside the {self.name} path [{low}, {high}]")
        return min(t, high)


class RectifiedFlow(Path):
    """Flow matching on straight lines: alpha = 1 - t, sigma = t, t in [0, 1]; the model predicts `v = eps - x_0`."""

    name = "rectified-flow"
    towards_image = -1

    def alpha(self, t: float) -> float:
        return 1.0 - t

    def sigma(self, t: float) -> float:
        return t

    def transport(self, gain: float, t: float) -> tuple[float, float]:
        t = self._checked(gain, t, 0.0, 1.0)
        c = (1.0 - t) + gain * t
        return 1.0 / c, gain * t / c

    def denoised(self, output: Array, x: Array, t: float) -> Array:
        return x - t * output

    def output(self, denoised: Array, x: Array, t: float) -> Array:
        if t <= 0:
            raise ValueError("a velocity cannot be recovered from the denoised prediction at t = 0")
        return (x - denoised) / t


class VarianceExploding(Path):
    """k-diffusion's coordinates: alpha = 1, sigma = t (the time is sigma itself); the model returns the denoised."""

    name = "variance-exploding"
    starts_with_noise = True
    towards_image = 1

    def alpha(self, t: float) -> float:
        return 1.0

    def sigma(self, t: float) -> float:
        return t

    def transport(self, gain: float, t: float) -> tuple[float, float]:
        t = self._checked(gain, t, 0.0, sys.float_info.max)
        return 1.0, gain * t

    def denoised(self, output: Array, x: Array, t: float) -> Array:
        return output

    def output(self, denoised: Array, x: Array, t: float) -> Array:
        return denoised


class VariancePreserving(Path):
    """alpha^2 + sigma^2 = 1 with the time being sigma in [0, 1]; the model predicts the noise `eps`."""

    name = "variance-preserving"
    towards_image = -1

    def alpha(self, t: float) -> float:
        return math.sqrt(max(0.0, (1.0 - t) * (1.0 + t)))  # 1 - t^2 would cancel near pure noise

    def sigma(self, t: float) -> float:
        return t

    def transport(self, gain: float, t: float) -> tuple[float, float]:
        t = self._checked(gain, t, 0.0, 1.0)
        length = math.hypot(self.alpha(t), gain * t)
        return 1.0 / length, gain * t / length  # divided, not scaled: the end t = 1 stays exactly 1

    def denoised(self, output: Array, x: Array, t: float) -> Array:
        alpha = self.alpha(t)
        if alpha <= 0:
            raise ValueError("the denoised prediction is undefined from eps at sigma = 1 (alpha = 0)")
        return (x - t * output) / alpha

    def output(self, denoised: Array, x: Array, t: float) -> Array:
        if t <= 0:
            raise ValueError("eps cannot be recovered from the denoised prediction at sigma = 0")
        return (x - self.alpha(t) * denoised) / t


@dataclass(frozen=True)
class DenoisedPrediction(Path):
    """The marginals of another path, for a model that returns the denoised prediction itself."""

    marginals: Path
    name = "denoised-prediction"
    towards_image = 1

    def __post_init__(self) -> None:
        # A fact of the marginals, not of the class; frozen, hence by this door.
        object.__setattr__(self, "starts_with_noise", self.marginals.starts_with_noise)

    def alpha(self, t: float) -> float:
        return self.marginals.alpha(t)

    def sigma(self, t: float) -> float:
        return self.marginals.sigma(t)

    def transport(self, gain: float, t: float) -> tuple[float, float]:
        return self.marginals.transport(gain, t)

    def denoised(self, output: Array, x: Array, t: float) -> Array:
        return output

    def output(self, denoised: Array, x: Array, t: float) -> Array:
        return denoised


PATHS: dict[str, Path] = {p.name: p for p in (RectifiedFlow(), VarianceExploding(), VariancePreserving())}
