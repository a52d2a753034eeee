"""Separable operators: one matrix for the rows, one for the columns."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from functools import lru_cache
from typing import TypeAlias

import numpy as np

from .arrays import (
    Array,
    accumulation_dtype,
    array_namespace,
    cast,
    compiling,
    device_of,
    full_precision,
    require_floating,
)
from .base import LinearOperator
from .shapes import Size

BAND = 64  # rows of a banded matrix that are multiplied together; measured, see `_bands`


class SeparableOperator(LinearOperator):
    """A Kronecker product R (x) C of one matrix per axis, R of h x H and C of w x W.

    forward   y = R x C^T        (..., H, W) -> (..., h, w)
    adjoint   x = R^T y C

    A new one defines `_axis` besides the sizes. Dense matrix products in the dtype of x (float32 for float16 and
    bfloat16, rounded once), outside autocast; where a matrix is a band, only about the band is multiplied. Under
    torch.compile the matrices are part of the graph, so `_axis` is plain numpy that can be traced. Where a program lets
    torch use TF32 for float32 products, expect its 1e-3. Raises TypeError for a dtype that is not real floating.
    """

    @abstractmethod
    def _axis(self, axis: int, length: int) -> np.ndarray:
        """The float64 matrix of axis 0 (rows) or 1 (columns) for an input of `length`: (length out, length)."""

    def _isometry(self, axis: int, length: int) -> np.ndarray:
        """The orthogonal polar factor U V^T of the axis matrix U S V^T, its null space left out."""
        u, s, vt = np.linalg.svd(_axis(self, axis, length), full_matrices=False)
        kept = s > s.max(initial=0) * max(len(u), length) * np.finfo(np.float64).eps
        return u[:, kept] @ vt[kept]

    def noise_gain(self, shape: Sequence[int]) -> float | None:
        self.out_shape(shape)
        if self.gain is not None:
            return self.gain
        rows, columns = (_gain(self, axis, n) for axis, n in enumerate(shape[-2:]))
        return None if rows is None or columns is None else rows * columns

    def axes(self, shape: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        self.out_shape(shape)
        return _axis(self, 0, shape[-2]), _axis(self, 1, shape[-1])

    def _forward(self, x: Array) -> Array:
        return self._product(x, (x.shape[-2], x.shape[-1]), False)

    def _adjoint(self, y: Array, size: Size) -> Array:
        return self._product(y, size, True)

    def _product(self, x: Array, size: Size, transposed: bool) -> Array:
        require_floating(self, x)
        (rows, height), (columns, width) = (self._factor(axis, n, transposed, x) for axis, n in enumerate(size))
        work = cast(x, accumulation_dtype(x))
        with full_precision(x):
            if width * x.shape[-2] <= height * x.shape[-1]:  # first the axis that leaves less to do for the other
                work = _from_left(rows, _from_right(work, columns))
            else:
                work = _from_right(_from_left(rows, work), columns)
        return cast(work, x.dtype)

    def _factor(self, axis: int, length: int, transposed: bool, x: Array) -> tuple[list[Band], int]:
        """The bands of one axis beside `x`, and the length they lead to."""
        if compiling(x):
            matrix = self._axis(axis, length)
            bands: Sequence[Band] = _whole(matrix.T if transposed else matrix)
        else:
            bands = _bands(self, axis, length, transposed)
        xp, dtype, device = array_namespace(x), accumulation_dtype(x), device_of(x)
        placed = [(start, stop, xp.asarray(block, dtype=dtype, device=device)) for start, stop, block in bands]
        return placed, sum(block.shape[0] for _, _, block in placed)


Band: TypeAlias = tuple[int, int, Array]  # first column, column after the last, and the block between


# Kept on the host: a cached device tensor born under torch.inference_mode could never be differentiated through.
@lru_cache(maxsize=64)
def _axis(operator: SeparableOperator, axis: int, length: int) -> np.ndarray:
    matrix = operator._axis(axis, length)
    matrix.flags.writeable = False
    return matrix


@lru_cache(maxsize=64)
def _gain(operator: SeparableOperator, axis: int, length: int) -> float | None:
    return row_gain(_axis(operator, axis, length))


def row_gain(matrix: np.ndarray) -> float | None:
    """g where the rows are orthogonal and all of norm g > 0, to rounding; otherwise None."""
    gram = matrix @ matrix.T
    square = float(gram[0, 0])
    worst = np.abs(gram - square * np.eye(len(gram))).max()
    return math.sqrt(square) if square > 0 and worst <= 1e-14 * square * len(gram) else None


def _whole(matrix: np.ndarray) -> list[Band]:
    return [(0, matrix.shape[1], matrix)]


@lru_cache(maxsize=64)
def _bands(operator: SeparableOperator, axis: int, length: int, transposed: bool) -> list[Band]:
    """The matrix of an axis as groups of BAND rows, each with the columns where it is not 0.

    A matrix stays whole where that saves less than half of the products: many small ones cost more than one.
    """
    matrix = _axis(operator, axis, length)
    matrix = np.ascontiguousarray(matrix.T) if transposed else matrix
    bands = []
    for first in range(0, len(matrix), BAND):
        rows = matrix[first : first + BAND]
        used = np.flatnonzero(rows.any(axis=0))
        start, stop = (int(used[0]), int(used[-1]) + 1) if len(used) else (0, 1)
        bands.append((start, stop, rows[:, start:stop].copy()))  # torch warns of arrays that are not writeable
    return bands if 2 * sum(block.size for _, _, block in bands) <= matrix.size else _whole(matrix.copy())


def _from_left(bands: list[Band], x: Array) -> Array:
    """M x, for the bands of M."""
    xp = array_namespace(x)
    parts = [xp.matmul(block, x[..., start:stop, :]) for start, stop, block in bands]
    return parts[0] if len(parts) == 1 else xp.concat(parts, axis=-2)


def _from_right(x: Array, bands: list[Band]) -> Array:
    """x M^T, for the bands of M."""
    xp = array_namespace(x)
    parts = [xp.matmul(x[..., start:stop], xp.matrix_transpose(block)) for start, stop, block in bands]
    return parts[0] if len(parts) == 1 else xp.concat(parts, axis=-1)
