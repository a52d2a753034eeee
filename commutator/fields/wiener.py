"""Wiener filtering: the denoiser of Gaussian data in the basis that makes its coefficients independent."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..path import Path

Power = Callable[[np.ndarray, np.ndarray, int, int], Any]


def variances(power: Power, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """`power(i, j, height, width)` on the grid of the integer frequencies `rows` x `columns`: float64 (height, width).

    Raises ValueError for variances that are negative, not finite, or of another shape.
    """
    i, j = np.meshgrid(rows, columns, indexing="ij")
    p = np.asarray(power(i, j, *i.shape), dtype=np.float64)
    if p.shape not in ((), i.shape):
        raise ValueError(f"power must give one variance per frequency, {i.shape}, not {p.shape}")
    if not (np.isfinite(p).all() and (p >= 0).all()):
        raise ValueError("power must give finite variances that are not negative")
    return np.broadcast_to(p, i.shape)


def wiener_gain(p: np.ndarray, path: Path, t: float) -> np.ndarray:
    """`E[c_0 | c_t] / c_t = alpha p / (alpha^2 p + sigma^2)` of coefficients c_0 ~ N(0, p); 0 where p is 0."""
    alpha, sigma = path.alpha(t), path.sigma(t)
    return np.divide(alpha * p, alpha**2 * p + sigma**2, out=np.zeros_like(p), where=p > 0)
