"""Fields whose denoised prediction is known exactly: they make commutators and trajectories checkable."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from array_api_compat import array_namespace

from .path import Path, RectifiedFlow

Array = Any


@runtime_checkable
class Field(Protocol):
    """A model: the denoised prediction at a state and time. `x` has shape (batch, ..., height, width)."""

    def denoised(self, x: Array, t: float) -> Array: ...


@dataclass(frozen=True)
class GaussianField:
    """The exact denoiser of iid Gaussian data `x_0 ~ N(mean, std^2)`, a pointwise field.

    `E[x_0 | x_t] = mean + alpha std^2 / (alpha^2 std^2 + sigma^2) (x_t - alpha mean)`.
    `mean` is a float or an array that broadcasts against `x`; it commutes with every selection when it is constant.
    """

    mean: Any = 0.0
    std: float = 1.0
    path: Path = RectifiedFlow()  # noqa: RUF009 - a frozen value object

    def denoised(self, x: Array, t: float) -> Array:
        alpha, sigma = self.path.alpha(t), self.path.sigma(t)
        gain = alpha * self.std**2 / (alpha**2 * self.std**2 + sigma**2)
        return self.mean + gain * (x - alpha * self.mean)


@dataclass(frozen=True)
class StationaryGaussianField:
    """The exact denoiser of zero-mean Gaussian data that is diagonal in the orthonormal DCT-II basis.

    `power(i, j, height, width)` gives the variance of coefficient `(i, j)` of an image of that size. A spectral crop
    with noise gain g keeps the first coefficients and scales them by g, so when `power` scales by g^2 with the size
    the field commutes exactly with the crop at matched time.
    Source: Wiener filtering, `D_k = alpha P_k / (alpha^2 P_k + sigma^2)`.
    """

    power: Any  # callable (i, j index arrays, height, width) -> array of coefficient variances
    path: Path = RectifiedFlow()  # noqa: RUF009

    def denoised(self, x: Array, t: float) -> Array:
        from scipy.fft import dctn, idctn

        x = np.asarray(x)
        height, width = x.shape[-2:]
        i, j = np.meshgrid(np.arange(height), np.arange(width), indexing="ij")
        p = np.asarray(self.power(i, j, height, width), dtype=x.dtype)
        alpha, sigma = self.path.alpha(t), self.path.sigma(t)
        wiener = alpha * p / (alpha**2 * p + sigma**2)
        spectrum = dctn(x, axes=(-2, -1), norm="ortho")
        return idctn(wiener * spectrum, axes=(-2, -1), norm="ortho")


@dataclass(frozen=True)
class GaussianMixtureField:
    """The exact denoiser of a mixture of isotropic Gaussians, `sum_k w_k N(mu_k, std^2 I)` over whole images.

    With `std = 0` it is the exact optimal denoiser of a finite data set. `means` has shape (components, ..., height,
    width), the trailing part as one sample of `x`; `weights` (components,) or None for equal ones.
    Raises ValueError when the shapes do not agree. Cost: batch x components x pixels.
    """

    means: Array
    std: float = 0.0
    weights: Array | None = None
    path: Path = RectifiedFlow()  # noqa: RUF009

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
