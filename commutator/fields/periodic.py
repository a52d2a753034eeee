"""Stationary Gaussian data on the torus: diagonal in the Fourier basis."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ...operators.arrays import accumulation_dtype, array_namespace, cast, device_of, require_floating
from ..path import Path, RectifiedFlow
from .wiener import Power, variances, wiener_gain

Array = Any


@dataclass(frozen=True)
class PeriodicGaussianField:
    """The exact denoiser of zero-mean Gaussian data whose covariance depends on the circular distance of two pixels.

    `power(i, j, height, width)` gives the variance of the unitary Fourier coefficient at the signed integer frequencies
    i in -height/2..height/2, j likewise (numpy's `fftfreq` times the size). It is a convolution on the torus with the
    Wiener filter `D_k = alpha P_k / (alpha^2 P_k + sigma^2)`, so it commutes with every circular shift.
    float16 and bfloat16 are transformed in float32.

    Raises TypeError for a dtype that is not real floating; ValueError as `variances` does, and unless
    `power(-i, -j) == power(i, j)` on the grid, as it is for real images.
    """

    power: Power
    path: Path = RectifiedFlow()  # noqa: RUF009

    def denoised(self, x: Array, t: float) -> Array:
        require_floating(self, x)
        xp, dtype = array_namespace(x), accumulation_dtype(x)
        gain = xp.asarray(self.wiener(t, x.shape[-2], x.shape[-1]), dtype=dtype, device=device_of(x))
        spectrum = xp.fft.fftn(cast(x, dtype), axes=(-2, -1))
        return cast(xp.real(xp.fft.ifftn(gain * spectrum, axes=(-2, -1))), x.dtype)

    def wiener(self, t: float, height: int, width: int) -> np.ndarray:
        """The factors `D_k` in `fftfreq` order, float64 (height, width); the largest is the Lipschitz constant."""
        p = variances(self.power, _frequencies(height), _frequencies(width))
        mirrored = np.roll(np.flip(p), 1, axis=(0, 1))
        if not np.allclose(p, mirrored, rtol=1e-9, atol=0.0):
            raise ValueError("power(-i, -j) must equal power(i, j): real images have no other spectra")
        return wiener_gain(p, self.path, t)


def _frequencies(n: int) -> np.ndarray:
    return np.rint(np.fft.fftfreq(n) * n).astype(np.int64)
