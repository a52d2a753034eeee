"""Finite mixtures of images: the exact field of a data set."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from array_api_compat import array_namespace

from ..path import Path, RectifiedFlow

Array = Any


@dataclass(frozen=True)
class GaussianMixtureField:
    """The exact denoiser of a mixture of isotropic Gaussians, `sum_k w_k N(mu_k, std^2 I)` over whole images.

    With `std = 0` it is the exact optimal denoiser of a finite data set. `means` has shape (components, ..., height,
    width), the trailing part as one sample of `x`; `weights` (components,), not negative, in any unit, or None for
    equal ones. Raises ValueError when the shapes do not agree. Cost: batch x components x pixels.
    """

    means: Array
    std: float = 0.0
    weights: Array | None = None
    path: Path = RectifiedFlow()  # noqa: RUF009

    def __post_init__(self) -> None:
        count = self.means.shape[0]
        if self.weights is not None and tuple(self.weights.shape) != (count,):
            raise ValueError(f"weights of shape {tuple(self.weights.shape)} do not fit {count} means")

    def denoised(self, x: Array, t: float) -> Array:
        xp = array_namespace(x)
        if tuple(x.shape[1:]) != tuple(self.means.shape[1:]):
            raise ValueError(f"samples of shape {tuple(x.shape[1:])} do not fit means of {tuple(self.means.shape[1:])}")
        alpha, sigma = self.path.alpha(t), self.path.sigma(t)
        variance = alpha**2 * self.std**2 + sigma**2
        flat = xp.reshape(x, (x.shape[0], -1))
        means = xp.reshape(self.means, (self.means.shape[0], -1))
        distance = xp.sum((flat[:, None, :] - alpha * means[None, :, :]) ** 2, axis=-1)
        logits = -distance / (2 * variance)
        if self.weights is not None:
            logits = logits + xp.log(self.weights)[None, :]
        logits = logits - xp.max(logits, axis=1, keepdims=True)
        posterior = xp.exp(logits)
        posterior = posterior / xp.sum(posterior, axis=1, keepdims=True)
        shrink = alpha * self.std**2 / variance
        centre = posterior @ means
        out = centre + shrink * (flat - alpha * centre)
        return xp.reshape(out, x.shape)
