"""What operators share that map every sy x sx block of pixels to one: shapes, and constants kept."""

from __future__ import annotations

from .base import LinearOperator
from .shapes import Size, divided, indivisible, multiplied, nearest_divisible


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
