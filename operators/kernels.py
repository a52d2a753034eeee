"""Interpolation kernels, and the matrix that resamples an axis with one.

Plain numpy that torch.compile can trace. Pixel j covers [j, j + 1]; its centre is j + 1/2.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np


def triangle(u: np.ndarray) -> np.ndarray:
    """Linear interpolation: 1 - |u| up to 1."""
    return np.maximum(1 - np.abs(u), 0.0)


def cubic(u: np.ndarray, a: float) -> np.ndarray:
    """Cubic convolution with slope `a` at 1, up to 2 (Keys 1981)."""
    u = np.abs(u)
    near = ((a + 2) * u - (a + 3)) * u * u + 1
    far = a * (((u - 5) * u + 8) * u - 4)
    return np.where(u < 1, near, np.where(u < 2, far, 0.0))


def lanczos(u: np.ndarray) -> np.ndarray:
    """sinc(u) sinc(u / 3) up to 3 (Duchon 1979)."""
    away = np.where(u == 0, 1.0, u) * math.pi
    value = 3 * np.sin(away) * np.sin(away / 3) / (away * away)
    return np.where(u == 0, 1.0, np.where(np.abs(u) < 3, value, 0.0))


def _smoothing_cubic(u: np.ndarray) -> np.ndarray:
    return cubic(u, -0.5)


def _sharp_cubic(u: np.ndarray) -> np.ndarray:
    return cubic(u, -0.75)


Kernel = Callable[[np.ndarray], np.ndarray]
ANTIALIASED: dict[str, Kernel] = {"bilinear": triangle, "bicubic": _smoothing_cubic, "lanczos": lanczos}
INTERPOLATING: dict[str, Kernel] = {"bilinear": triangle, "bicubic": _sharp_cubic, "lanczos": lanczos}


def area_matrix(source: int, target: int) -> np.ndarray:
    """Every target pixel is the mean of what it covers: overlap of [i s, (i + 1) s] and [j, j + 1], by s; s = n / m."""
    i, j = np.arange(target)[:, None], np.arange(source)[None, :]
    # In units of 1/m of a source pixel all borders are integers, and whole factors come out exact.
    overlap = np.minimum((i + 1) * source, (j + 1) * target) - np.maximum(i * source, j * target)
    return np.maximum(overlap, 0) / source


def antialiased_matrix(source: int, target: int, kernel: Kernel) -> np.ndarray:
    """The kernel, widened by s = n / m where s > 1, sampled and each row divided by its sum."""
    centre = (np.arange(target) + 0.5)[:, None] * source / target
    weights = kernel((np.arange(source)[None, :] + 0.5 - centre) / max(source / target, 1.0))
    return weights / weights.sum(axis=1, keepdims=True)


def interpolating_matrix(source: int, target: int, kernel: Kernel) -> np.ndarray:
    """The kernel as wide as it is, also going down; taps beyond the border fall on the border pixel."""
    reach = 3
    taps = np.arange(-reach, source + reach)
    centre = (np.arange(target) + 0.5)[:, None] * source / target
    weights = kernel(taps[None, :] + 0.5 - centre)
    landing = np.maximum(np.minimum(taps, source - 1), 0)[:, None] == np.arange(source)[None, :]
    return (weights / weights.sum(axis=1, keepdims=True)) @ landing.astype(np.float64)
