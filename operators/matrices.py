"""Small matrices as constructor arguments of maps of the plane."""

from __future__ import annotations

from typing import Any

import numpy as np

LARGEST = 2.0**32  # of an entry: beyond it positions between pixels have lost their meaning

Rows = tuple[tuple[float, ...], ...]


def matrix_of(name: str, value: Any, shapes: tuple[tuple[int, int], ...]) -> Rows:
    """A matrix of one of `shapes` in rows of finite floats; raises ValueError for anything else."""
    if hasattr(value, "detach"):  # a torch tensor
        value = value.detach().cpu()
    wanted = " or ".join(f"{height} x {width}" for height, width in shapes)
    try:
        given = np.asarray(value)
        if given.dtype.kind not in "iuf" or given.shape not in shapes:
            raise TypeError
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} must be a matrix of {wanted} real numbers") from error
    if not np.isfinite(given).all() or np.abs(given).max() > LARGEST:
        raise ValueError(f"{name} must hold finite numbers of at most {LARGEST:.0f}")
    return tuple(tuple(row) for row in given.astype(np.float64).tolist())


def inverse_of(name: str, matrix: Rows) -> np.ndarray:
    """The inverse, float64; raises ValueError for a matrix that is singular, or so nearly that entries explode."""
    square = np.array(matrix)
    try:
        inverse = np.linalg.inv(square)
    except np.linalg.LinAlgError:
        inverse = np.full(square.shape, np.inf)
    if not np.abs(inverse).max() <= LARGEST:
        raise ValueError(f"{name} is singular: it maps the whole image to a line or a point, which no pixel can show")
    return inverse
