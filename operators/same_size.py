"""What operators share that take an image of any size and keep it."""

from __future__ import annotations

from .base import LinearOperator
from .shapes import Size


class SameSize(LinearOperator):
    """(..., H, W) -> (..., H, W); raises ShapeError for images without pixels."""

    @property
    def keeps_size(self) -> bool:
        return True

    def _fault(self, size: Size) -> str | None:
        return None if min(size) > 0 else "height and width must be positive"

    def _nearest(self, size: Size) -> tuple[Size, ...]:
        return ((max(size[0], 1), max(size[1], 1)),)

    def _out_size(self, size: Size) -> Size:
        return size

    def _in_size(self, size: Size) -> Size | None:
        return size
