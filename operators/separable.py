"""Separable operators: one matrix for the rows, one for the columns, with their noise partner and any two matrices."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, TypeAlias

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
from .fields import Matrix, holds
from .host_array import HostArray
from .noise import NoisePartner
from .saved import grown_to, serialisable
from .shapes import Shape, Size

BAND = 64  # rows multiplied together: fewer make many small products, more take in many zeros (measured at 64 to 1024)

Block: TypeAlias = tuple[int, int, np.ndarray]  # first column, column after the last, and what is between


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


@serialisable
@dataclass(frozen=True, init=False, repr=False)
class Kronecker(SeparableOperator):
    """Any two matrices: R (h x H) for the rows, C (w x W) for the columns.

    forward   y = R x C^T        (..., H, W) -> (..., h, w)
    adjoint   x = R^T y C

    Takes images of H x W and no others. The gain is found in the matrices: g where R R^T and C C^T are multiples of I.
    Otherwise the noise partner carries over what the polar factors of R and C see, and draws the rest afresh. The
    matrices (anything numpy reads) are copied as float64. `Kronecker(*a.axes(shape))` is any separable operator on one
    size. Equal matrices make equal operators; a repr spells out small ones. Raises ValueError for what is no finite
    matrix, ShapeError for other image sizes, TypeError for a dtype that is not real floating.

    Source: linear algebra, (R (x) C) vec(x) = vec(R x C^T) for row-major vec.
    """

    _rows: HostArray = field(metadata=holds(Matrix()))
    _columns: HostArray = field(metadata=holds(Matrix()))
    _gain: float | None = field(init=False, compare=False)

    def __init__(self, rows: Any, columns: Any):
        self._take(_rows=rows, _columns=columns)

    def _prepare(self) -> None:
        gains = row_gain(self.rows), row_gain(self.columns)
        object.__setattr__(self, "_gain", None if None in gains else math.prod(g for g in gains if g is not None))

    @property
    def rows(self) -> np.ndarray:
        """R, float64 (h, H), read-only."""
        return self._rows.values

    @property
    def columns(self) -> np.ndarray:
        """C, float64 (w, W), read-only."""
        return self._columns.values

    @property
    def gain(self) -> float | None:
        return self._gain

    @property
    def preserves_constants(self) -> bool:
        return bool(np.abs(np.outer(self.rows.sum(1), self.columns.sum(1)) - 1).max() <= 1e-13 * self._in_size()[0])

    @property
    def keeps_size(self) -> bool:
        return self._out_size() == self._in_size()

    def noise_partner(self) -> NoisePartner:
        return FreshComplement(self) if self.gain is None else super().noise_partner()

    def _grown(self, before: float, back: bool) -> float:
        return grown_to(self._in_size() if back else self._out_size())

    def _axis(self, axis: int, length: int) -> np.ndarray:
        return (self.rows, self.columns)[axis]

    def _fault(self, size: Size) -> str | None:
        height, width = self._in_size()
        return None if tuple(size) == (height, width) else f"its matrices take images of {height} x {width}"

    def _nearest(self, size: Size) -> tuple[Size, ...]:
        return (self._in_size(),)

    def _out_size(self, size: Size | None = None) -> Size:
        return self.rows.shape[0], self.columns.shape[0]

    def _in_size(self, size: Size | None = None) -> Size:
        return self.rows.shape[1], self.columns.shape[1]


@dataclass(frozen=True, repr=False)
class FreshComplement(NoisePartner):
    """White noise that agrees with a separable operator A where A says something, and is fresh elsewhere.

    forward   M n + Z - M M^T Z        (..., H, W) -> (..., h, w), Z fresh white noise

    M is the orthogonal polar factor of A, axis by axis: the map with `M M^T` a projection that is closest to A (A / g
    where A is isotropic). Then M M^T + (I - M M^T)(I - M M^T)^T = I. Where M M^T = I there is nothing fresh to draw.
    For a spectral crop that goes up: the given low frequencies and fresh high ones. Source: conditional Gaussians; the
    polar factor as nearest isometry is the orthogonal Procrustes problem (Schoenemann 1966).
    """

    operator: SeparableOperator

    def _fresh_count(self, size: Size) -> int:
        ranks = (float(np.square(axis).sum()) for axis in PolarFactor(self.operator).axes(size))
        height, width = self.operator._out_size(size)
        return 0 if all(math.isclose(r, n, abs_tol=0.5) for r, n in zip(ranks, (height, width))) else height * width

    def _combined(self, noise: Array, fresh: Array) -> Array:
        polar = PolarFactor(self.operator)
        carried = polar(noise)
        if fresh.shape[-1] == 0:
            return carried
        fresh = array_namespace(fresh).reshape(fresh, carried.shape)
        return carried + (fresh - polar(polar.adjoint(fresh, noise.shape)))


@dataclass(frozen=True)
class PolarFactor(SeparableOperator):
    """The orthogonal polar factor of a separable operator, axis by axis: U V^T of U S V^T."""

    operator: SeparableOperator

    def _axis(self, axis: int, length: int) -> np.ndarray:
        return self.operator._isometry(axis, length)

    def out_shape(self, shape: Sequence[int]) -> Shape:
        return self.operator.out_shape(shape)

    def _fault(self, size: Size) -> str | None:
        return self.operator._fault(size)

    def _out_size(self, size: Size) -> Size:
        return self.operator._out_size(size)


@dataclass(frozen=True, eq=False)
class Banded:
    """A matrix M (m x n) as groups of rows, each with the columns where it is not 0; on the host, in both precisions.

    Kept on the host since a cached device tensor born under torch.inference_mode could never be differentiated through.
    """

    double: tuple[Block, ...]
    single: tuple[Block, ...]

    @classmethod
    def of(cls, matrix: np.ndarray) -> Banded:
        """`matrix` cut into groups; whole where that saves less than half: many small products cost more than one."""
        blocks = []
        for first in range(0, len(matrix), BAND):
            rows = matrix[first : first + BAND]
            used = np.flatnonzero(rows.any(axis=0))
            start, stop = (int(used[0]), int(used[-1]) + 1) if len(used) else (0, 1)
            blocks.append((start, stop, rows[:, start:stop]))
        saves = 2 * sum(block.size for _, _, block in blocks) <= matrix.size
        return cls.holding(tuple(blocks) if saves else ((0, matrix.shape[1], matrix),))

    @classmethod
    def holding(cls, blocks: tuple[Block, ...]) -> Banded:
        """These blocks, copied: torch warns of arrays that cannot be written to."""
        double, single = (
            tuple((start, stop, block.astype(dtype)) for start, stop, block in blocks)
            for dtype in (np.float64, np.float32)
        )
        return cls(double, single)

    @property
    def length(self) -> int:
        """m, the length it leads to."""
        return sum(len(block) for _, _, block in self.double)

    def down(self, x: Array) -> Array:
        """M x, along the rows of x: (..., n, W) -> (..., m, W); x in float32 or float64."""
        parts = [block @ x[..., start:stop, :] for start, stop, block in self._beside(x)]
        return parts[0] if len(parts) == 1 else array_namespace(x).concat(parts, axis=-2)

    def across(self, x: Array) -> Array:
        """x M^T, along the columns of x: (..., H, n) -> (..., H, m)."""
        xp = array_namespace(x)
        parts = [x[..., start:stop] @ xp.matrix_transpose(block) for start, stop, block in self._beside(x)]
        return parts[0] if len(parts) == 1 else xp.concat(parts, axis=-1)

    def _beside(self, x: Array) -> list[tuple[int, int, Array]]:
        xp, device = array_namespace(x), device_of(x)
        blocks = self.double if x.dtype == xp.float64 else self.single
        return [(start, stop, xp.asarray(block, device=device)) for start, stop, block in blocks]


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
