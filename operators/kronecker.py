"""A separable operator from its two matrices."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .config import Config, serialisable, take
from .separable import SeparableOperator, row_gain
from .shapes import Size

if TYPE_CHECKING:
    from typing_extensions import Self

    from .base import LinearOperator
    from .noise.complement import FreshComplement

MAX_VALUES = 2**22  # in one matrix of a saved form: keeps a hostile header from asking for absurd sizes
SHOWN = 64  # values that a repr spells out


@serialisable
@dataclass(frozen=True, init=False, repr=False, eq=False)
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

    rows: np.ndarray
    columns: np.ndarray

    def __init__(self, rows: Any, columns: Any):
        object.__setattr__(self, "rows", _matrix("rows", rows))
        object.__setattr__(self, "columns", _matrix("columns", columns))
        gains = row_gain(self.rows), row_gain(self.columns)
        object.__setattr__(self, "_gain", None if None in gains else math.prod(g for g in gains if g is not None))
        object.__setattr__(self, "_digest", (_digest(self.rows), _digest(self.columns)))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Kronecker) and self._digest == other._digest  # type: ignore[attr-defined]

    def __hash__(self) -> int:
        return hash(self._digest)  # type: ignore[attr-defined]

    def __reduce__(self) -> tuple[type, tuple[np.ndarray, np.ndarray]]:
        return type(self), (self.rows, self.columns)  # copies are read-only again

    @property
    def gain(self) -> float | None:
        return self._gain  # type: ignore[attr-defined]

    @property
    def preserves_constants(self) -> bool:
        return bool(np.abs(np.outer(self.rows.sum(1), self.columns.sum(1)) - 1).max() <= 1e-13 * self._in_size()[0])

    @property
    def keeps_size(self) -> bool:
        return self._out_size() == self._in_size()

    def noise_partner(self) -> LinearOperator | FreshComplement:  # type: ignore[override]
        from .noise.complement import FreshComplement

        return FreshComplement(self) if self.gain is None else super().noise_partner()  # type: ignore[return-value]

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

    def _config(self) -> Config:
        return {"rows": self.rows.tolist(), "columns": self.columns.tolist()}

    @classmethod
    def _from_config(cls, config: Config, depth: int) -> Self:
        rows, columns = take(cls.__name__, config, "rows", "columns")
        return cls(_listed("rows", rows), _listed("columns", columns))

    def __repr__(self) -> str:
        if self.rows.size + self.columns.size <= SHOWN:
            return f"Kronecker({self.rows.tolist()}, {self.columns.tolist()})"
        matrices = (f"<{m.shape[0]}x{m.shape[1]} matrix {_digest(m)[:8]}>" for m in (self.rows, self.columns))
        return f"Kronecker({', '.join(matrices)})"


def _matrix(name: str, value: Any) -> np.ndarray:
    try:
        matrix = np.array(value, dtype=np.float64) + 0.0  # one zero, not two: equal values, equal bytes
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} must be a matrix of real numbers") from error
    if matrix.ndim != 2 or matrix.size == 0 or not np.isfinite(matrix).all():
        raise ValueError(f"{name} must be a matrix of finite numbers with two dims, not of shape {matrix.shape}")
    matrix.flags.writeable = False
    return matrix


def _digest(matrix: np.ndarray) -> str:
    return hashlib.sha256(repr(matrix.shape).encode() + matrix.tobytes()).hexdigest()


def _listed(name: str, value: object) -> list:
    """A matrix as JSON holds it: lists of numbers of equal length, not too many."""
    if not isinstance(value, list) or not value or not all(isinstance(row, list) and row for row in value):
        raise ValueError(f"{name} must be a list of lists of numbers")
    if len({len(row) for row in value}) > 1 or len(value) * len(value[0]) > MAX_VALUES:
        raise ValueError(f"{name} must have rows of equal length and at most {MAX_VALUES} values")
    if not all(type(number) in (int, float) and abs(number) <= 2.0**64 for row in value for number in row):
        raise ValueError(f"{name} must hold numbers of moderate size")
    return value
