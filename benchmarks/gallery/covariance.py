"""What an operator and its noise partner make of white noise, exactly: the covariance, not an estimate of it."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from commutant.operators import LinearOperator, NoisePartner

Size = tuple[int, int]


class Colour(NamedTuple):
    """Root mean variance, and the largest correlation between two pixels in absolute value."""

    std: float
    correlation: float


def covariance(carrier: LinearOperator | NoisePartner, size: Size) -> np.ndarray:
    """A A^T, or M M^T + F F^T of a partner, for noise of `size`: float64, one row for each output pixel."""
    pixels = math.prod(size)
    noise = np.eye(pixels).reshape(pixels, *size)
    if isinstance(carrier, LinearOperator):
        rows = carrier(noise).reshape(pixels, -1)
        return rows.T @ rows
    (fresh,) = carrier.fresh_shape(size)
    out = math.prod(carrier.out_shape(size))
    seen = carrier.combined(noise, np.zeros((pixels, fresh))).reshape(pixels, out)
    drawn = carrier.combined(np.zeros((fresh, *size)), np.eye(fresh)).reshape(fresh, out)
    return seen.T @ seen + drawn.T @ drawn


def colour(carrier: LinearOperator | NoisePartner, size: Size) -> Colour:
    """The colour of white noise after `carrier`; pixels without variance have no correlations."""
    gram = covariance(carrier, size)
    variance = np.diagonal(gram).copy()
    std = math.sqrt(float(variance.mean()))
    alive = variance > 1e-12
    norm = np.sqrt(variance[alive])
    correlation = np.abs(gram[np.ix_(alive, alive)] / np.outer(norm, norm))
    np.fill_diagonal(correlation, 0)
    return Colour(std, float(correlation.max(initial=0)))
