"""What operators share that map every sy x sx block of pixels to one: their shapes and their sums."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .arrays import Array, accumulation_dtype, array_namespace, block_average, cast, is_torch
from .base import LinearOperator
from .config import Config, pair, take
from .shapes import Size, divided, indivisible, multiplied, nearest_divisible
from .values import whole_pair

if TYPE_CHECKING:
    from typing_extensions import Self


class BlockOperator(LinearOperator):
    """(..., H, W) -> (..., H/sy, W/sx), with `scale` = (sy, sx); refused unless sy divides H and sx divides W."""

    scale: tuple[int, int]

    @property
    def preserves_constants(self) -> bool:
        return True

    def _fault(self, size: Size) -> str | None:
        return indivisible(size, self.scale)

    def _nearest(self, size: Size) -> tuple[Size, ...]:
        return nearest_divisible(size, self.scale)

    def _out_size(self, size: Size) -> Size:
        return divided(size, self.scale)

    def _in_size(self, size: Size) -> Size:
        return multiplied(size, self.scale)


class ScaledBlocks(BlockOperator):
    """A block operator that is told by its `scale` alone, s or (sy, sx)."""

    def __init__(self, scale: int | tuple[int, int]):
        object.__setattr__(self, "scale", whole_pair("scale", scale, 1))

    def _config(self) -> Config:
        return {"scale": list(self.scale)}

    @classmethod
    def _from_config(cls, config: Config, depth: int) -> Self:
        (scale,) = take(cls.__name__, config, "scale")
        return cls(pair("scale", scale, 1))

    def __repr__(self) -> str:
        sy, sx = self.scale
        return f"{type(self).__name__}({sy if sy == sx else self.scale})"


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
