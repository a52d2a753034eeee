"""Operators on blocks: every sy x sx block of pixels becomes one, by selection, mean or orthonormal sum."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from .arrays import (
    Array,
    accumulation_dtype,
    array_namespace,
    block_average,
    cast,
    is_torch,
    require_floating,
)
from .base import LinearOperator
from .fields import MAX_SCALE, Pair, Whole, holds
from .saved import moderate, serialisable
from .shapes import Size, divided, indivisible, multiplied, nearest_divisible

if TYPE_CHECKING:
    from typing_extensions import Self

SCALE = Pair(1, MAX_SCALE, brief=True)


@dataclass(frozen=True, init=False, repr=False)
class BlockOperator(LinearOperator):
    """(..., H, W) -> (..., H/sy, W/sx), with `scale` = (sy, sx); refused unless sy divides H and sx divides W."""

    scale: tuple[int, int] = field(metadata=holds(SCALE))

    def __init__(self, scale: int | tuple[int, int]):
        self._take(scale=scale)

    @property
    def preserves_constants(self) -> bool:
        return True

    def _grown(self, before: float, back: bool) -> float:
        return moderate(before * max(self.scale)) if back else before / min(self.scale)

    def _fault(self, size: Size) -> str | None:
        return indivisible(size, self.scale)

    def _nearest(self, size: Size) -> tuple[Size, ...]:
        return nearest_divisible(size, self.scale)

    def _out_size(self, size: Size) -> Size:
        return divided(size, self.scale)

    def _in_size(self, size: Size) -> Size:
        return multiplied(size, self.scale)


@serialisable
@dataclass(frozen=True, init=False, repr=False)
class StridedSelection(BlockOperator):
    """Keep the pixel at `phase` of every sy x sx block.

    forward   y[i, j] = x[sy i + py, sx j + px]          (..., H, W) -> (..., H/sy, W/sx)
    adjoint   x[sy i + py, sx j + px] = y[i, j], the rest 0

    A 0/1 matrix with gain 1: white noise stays white, the signal aliases. The forward is a view where the array
    library has views, and any dtype will do. `scale` is s or (sy, sx); `phase` is (py, px) or the row-major index
    k = py sx + px of the pixel in its block. Raises ShapeError unless sy divides H and sx divides W.

    Source: the mutually exclusive operators D_k of arXiv 2604.09227.
    """

    phase: tuple[int, int] = field(metadata=holds(Pair(0, MAX_SCALE), named=True))

    def __init__(self, scale: int | tuple[int, int], phase: int | tuple[int, int] = 0):
        sy, sx = SCALE.take("scale", scale)
        py, px = phase if isinstance(phase, tuple | list) else divmod(Whole(0).take("phase", phase), sx)
        self._take(scale=(sy, sx), phase=(py, px))

    def _prepare(self) -> None:
        (sy, sx), (py, px) = self.scale, self.phase
        if py >= sy or px >= sx:
            raise ValueError(f"phase ({py}, {px}) lies outside its {sy} x {sx} block")

    @classmethod
    def family(cls, scale: int | tuple[int, int]) -> tuple[Self, ...]:
        """All sy sx selections in row-major order of phase: every input pixel is kept by exactly one of them."""
        sy, sx = SCALE.take("scale", scale)
        return tuple(cls((sy, sx), k) for k in range(sy * sx))

    @property
    def gain(self) -> float:
        return 1.0

    def axes(self, shape: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        self.out_shape(shape)
        (sy, sx), (py, px) = self.scale, self.phase
        return np.eye(shape[-2])[py::sy], np.eye(shape[-1])[px::sx]

    def _forward(self, x: Array) -> Array:
        (sy, sx), (py, px) = self.scale, self.phase
        return x[..., py::sy, px::sx]

    def _adjoint(self, y: Array, size: Size) -> Array:
        xp = array_namespace(y)
        (sy, sx), (py, px) = self.scale, self.phase
        *lead, height, width = y.shape
        blocks = xp.reshape(y, (*lead, height, 1, width, 1))
        for axis, before, after in ((-3, py, sy - 1 - py), (-1, px, sx - 1 - px)):
            blocks = _padded(xp, blocks, axis, before, after)
        return xp.reshape(blocks, (*lead, *size))


@serialisable
@dataclass(frozen=True, init=False, repr=False)
class BlockMean(BlockOperator):
    """Average every sy x sx block.

    forward   y[i, j] = 1/(sy sx) sum_{a < sy, b < sx} x[sy i + a, sx j + b]      (..., H, W) -> (..., H/sy, W/sx)
    adjoint   x[sy i + a, sx j + b] = y[i, j] / (sy sx)

    Rows have disjoint support, hence A A^T = I / (sy sx): gain 1/sqrt(sy sx). float16 and bfloat16 are summed in
    float32 and rounded once, to half a unit in the last place. `scale` is s or (sy, sx). Raises ShapeError unless
    sy divides H and sx divides W, TypeError for a dtype that is not real floating.

    Source: area averaging; for noise, Hoogeboom et al. 2023 (simple diffusion).
    """

    @property
    def gain(self) -> float:
        return 1 / math.sqrt(self.scale[0] * self.scale[1])

    def axes(self, shape: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        height, width = self.out_shape(shape)[-2:]
        sy, sx = self.scale
        return np.kron(np.eye(height), np.full((1, sy), 1 / sy)), np.kron(np.eye(width), np.full((1, sx), 1 / sx))

    def _forward(self, x: Array) -> Array:
        require_floating(self, x)
        return cast(block_means(x, self.scale), x.dtype)

    def _adjoint(self, y: Array, size: Size) -> Array:
        require_floating(self, y)
        return spread(y / (self.scale[0] * self.scale[1]), self.scale)


@serialisable
@dataclass(frozen=True, init=False, repr=False)
class OrthonormalSum(BlockOperator):
    """Sum every sy x sx block and divide by sqrt(sy sx): the LL band of the orthonormal Haar wavelet, for scale 2.

    forward   y[i, j] = 1/sqrt(sy sx) sum_{a < sy, b < sx} x[sy i + a, sx j + b]     (..., H, W) -> (..., H/sy, W/sx)
    adjoint   x[sy i + a, sx j + b] = y[i, j] / sqrt(sy sx)

    A A^T = I: gain 1, so white noise needs no other partner. A constant image becomes sqrt(sy sx) times brighter; where
    images are meant to keep their values, take `BlockMean`. float16 and bfloat16 are summed in float32 and rounded
    once. `scale` is s or (sy, sx). Raises ShapeError unless sy divides H and sx divides W, TypeError for a dtype that
    is not real floating.

    Source: the Haar scaling function; `BlockMean` in units of its gain.
    """

    @property
    def gain(self) -> float:
        return 1.0

    @property
    def preserves_constants(self) -> bool:
        return self.scale == (1, 1)

    def axes(self, shape: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        rows, columns = BlockMean(self.scale).axes(shape)
        return rows * math.sqrt(self.scale[0]), columns * math.sqrt(self.scale[1])

    def _forward(self, x: Array) -> Array:
        require_floating(self, x)
        return cast(block_means(x, self.scale) * self._root, x.dtype)

    def _adjoint(self, y: Array, size: Size) -> Array:
        require_floating(self, y)
        return spread(y / self._root, self.scale)

    @property
    def _root(self) -> float:
        return math.sqrt(self.scale[0] * self.scale[1])


def block_means(x: Array, scale: Size) -> Array:
    """The mean of every block: (..., H, W) -> (..., H/sy, W/sx), in the dtype to sum in."""
    work = cast(x, accumulation_dtype(x))
    if is_torch(x) and 0 not in x.shape:
        return block_average(work, scale)
    *lead, height, width = x.shape
    sy, sx = scale
    xp = array_namespace(x)
    # Rows first, columns after: both at once takes numpy longer.
    rows = xp.sum(xp.reshape(work, (*lead, height // sy, sy, width)), axis=-2)
    return xp.sum(xp.reshape(rows, (*lead, height // sy, width // sx, sx)), axis=-1) / (sy * sx)


def spread(y: Array, scale: Size) -> Array:
    """Every value to all pixels of its block: (..., h, w) -> (..., sy h, sx w)."""
    *lead, height, width = y.shape
    sy, sx = scale
    xp = array_namespace(y)
    copies = xp.broadcast_to(xp.reshape(y, (*lead, height, 1, width, 1)), (*lead, height, sy, width, sx))
    return xp.reshape(copies, (*lead, height * sy, width * sx))


def _padded(xp: Any, blocks: Array, axis: int, before: int, after: int) -> Array:
    zero = xp.zeros_like(blocks)
    return xp.concat([zero] * before + [blocks] + [zero] * after, axis=axis)
