"""White Gaussian data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..path import Path, RectifiedFlow

Array = Any


@dataclass(frozen=True)
class GaussianField:
    """The exact denoiser of iid Gaussian data `x_0 ~ N(mean, std^2)`, a pointwise field.

    `E[x_0 | x_t] = mean + k(t) (x_t - alpha mean)` with the shrinkage `k = alpha std^2 / (alpha^2 std^2 + sigma^2)`.
    `mean` is a float or an array that broadcasts against `x`; it commutes with every selection when it is constant.
    """

    mean: Any = 0.0
    std: float = 1.0
    path: Path = RectifiedFlow()  # noqa: RUF009 - a frozen value object

    def denoised(self, x: Array, t: float) -> Array:
        return self.mean + self.lipschitz(t) * (x - self.path.alpha(t) * self.mean)

    def lipschitz(self, t: float) -> float:
        """The shrinkage k(t), the field's Lipschitz constant in `x`."""
        alpha, sigma = self.path.alpha(t), self.path.sigma(t)
        return alpha * self.std**2 / (alpha**2 * self.std**2 + sigma**2)
