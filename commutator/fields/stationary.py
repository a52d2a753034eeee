"""Stationary Gaussian data with mirrored borders: diagonal in the DCT basis."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from array_api_compat import array_namespace

from ..path import Path, RectifiedFlow
from .wiener import Power, variances, wiener_gain

Array = Any


@dataclass(frozen=True)
class StationaryGaussianField:
    """The exact denoiser of zero-mean Gaussian data that is diagonal in the orthonormal DCT-II basis.

    `power(i, j, height, width)` gives the variance of coefficient `(i, j)` of an image of that size. A spectral crop
    with noise gain g keeps the first coefficients and scales them by g, so when `power` scales by g^2 with the size
    the field commutes exactly with the crop at matched time.
    It computes in numpy, on the host. Source: Wiener filtering, `D_k = alpha P_k / (alpha^2 P_k + sigma^2)`.
    Raises ValueError as `variances` does.
    """

    power: Power
    path: Path = RectifiedFlow()  # noqa: RUF009

    def denoised(self, x: Array, t: float) -> Array:
        xp, x = array_namespace(x), np.asarray(x)
        return xp.asarray(filtered(x, self.wiener(t, x.shape[-2], x.shape[-1])))

    def wiener(self, t: float, height: int, width: int) -> np.ndarray:
        """The factor `D_k` of every DCT coefficient, float64 (height, width); the largest is the Lipschitz constant."""
        return wiener_gain(variances(self.power, np.arange(height), np.arange(width)), self.path, t)


def filtered(x: np.ndarray, factors: np.ndarray) -> np.ndarray:
    """`x` with its DCT-II coefficients multiplied by `factors`; (..., H, W) and (H, W)."""
    from scipy.fft import dctn, idctn

    spectrum = dctn(x, axes=(-2, -1), norm="ortho")
    return idctn(factors.astype(x.dtype) * spectrum, axes=(-2, -1), norm="ortho")
