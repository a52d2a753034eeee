"""Separable operators: one matrix for the rows, one for the columns."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from .arrays import Array, accumulation_dtype, cast, compiling, full_precision, require_floating
from .banded import Banded
from .base import LinearOperator
from .shapes import Size


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
        # A cache would break the graph of torch.compile: there the matrices are computed in it.
        factor = _whole if compiling(x) else _factor
        rows, columns = (factor(self, axis, n, transposed) for axis, n in enumerate(size))
        work = cast(x, accumulation_dtype(x))
        with full_precision(x):
            # First the axis that leaves less to do for the other.
            if columns.length * x.shape[-2] <= rows.length * x.shape[-1]:
                work = rows.down(columns.across(work))
            else:
                work = columns.across(rows.down(work))
        return cast(work, x.dtype)


@lru_cache(maxsize=64)
def _axis(operator: SeparableOperator, axis: int, length: int) -> np.ndarray:
    matrix = operator._axis(axis, length)
    matrix.flags.writeable = False
    return matrix


@lru_cache(maxsize=64)
def _factor(operator: SeparableOperator, axis: int, length: int, transposed: bool) -> Banded:
    matrix = _axis(operator, axis, length)
    return Banded.of(matrix.T if transposed else matrix)


def _whole(operator: SeparableOperator, axis: int, length: int, transposed: bool) -> Banded:
    matrix = operator._axis(axis, length)
    return Banded.holding(((0, length, matrix),) if not transposed else ((0, matrix.shape[0], matrix.T),))


@lru_cache(maxsize=64)
def _gain(operator: SeparableOperator, axis: int, length: int) -> float | None:
    return row_gain(_axis(operator, axis, length))


def row_gain(matrix: np.ndarray) -> float | None:
    """g where the rows are orthogonal and all of norm g > 0, to rounding; otherwise None."""
    gram = matrix @ matrix.T
    square = float(gram[0, 0])
    worst = np.abs(gram - square * np.eye(len(gram))).max()
    return math.sqrt(square) if square > 0 and worst <= 1e-14 * square * len(gram) else None
