"""Any rearrangement of the pixels of one image size."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from .arrays import Array, take_pixels
from .config import Config, serialisable, take
from .host_array import HostArray
from .rearrangement import Rearrangement
from .shapes import Size

if TYPE_CHECKING:
    from typing_extensions import Self


@serialisable
@dataclass(frozen=True, init=False, repr=False)
class Permutation(Rearrangement):
    """Take the pixels in another order.

    forward   y[i, j] = x.ravel()[order[i, j]]        (..., H, W) -> (..., H, W)
    adjoint   x.ravel()[order[i, j]] = y[i, j]

    `order` is an (H, W) array of integers (anything numpy reads, or a torch tensor) that holds each row-major position
    0 to H W - 1 once. Gain 1, exact, any dtype. It has no counterpart on a coarser grid. Raises ValueError for an
    order that is no permutation, ShapeError for images of another size. Source: linear algebra.
    """

    _order: HostArray
    _taken: np.ndarray = field(compare=False)
    _back: np.ndarray = field(compare=False)

    def __init__(self, order: Any):
        held = HostArray("order", order, np.int64)
        if held.values.ndim != 2 or held.values.size == 0:
            raise ValueError(f"order must be an array of height x width, not of shape {held.values.shape}")
        if not np.array_equal(np.sort(held.values, axis=None), np.arange(held.values.size)):
            raise ValueError(f"order must hold each position from 0 to {held.values.size - 1} once")
        object.__setattr__(self, "_order", held)
        back = np.argsort(held.values, axis=None).reshape(held.values.shape)
        object.__setattr__(self, "_taken", held.values.copy())  # a copy: torch warns of read-only arrays
        object.__setattr__(self, "_back", back)

    @property
    def order(self) -> np.ndarray:
        """The row-major position that each pixel is taken from, int64 (H, W), read-only."""
        return self._order.values

    @property
    def inverse(self) -> Permutation:
        return Permutation(self._back)

    def _fault(self, size: Size) -> str | None:
        height, width = self.order.shape
        return None if tuple(size) == (height, width) else f"its order is of {height} x {width} pixels"

    def _nearest(self, size: Size) -> tuple[Size, ...]:
        return (self._in_size(size),)

    def _out_size(self, size: Size) -> Size:
        return self._in_size(size)

    def _in_size(self, size: Size) -> Size:
        return self.order.shape[0], self.order.shape[1]

    def _forward(self, x: Array) -> Array:
        return take_pixels(x, self._taken)

    def _adjoint(self, y: Array, size: Size) -> Array:
        return take_pixels(y, self._back)

    def _config(self) -> Config:
        return {"order": self._order.to_config()}

    @classmethod
    def _from_config(cls, config: Config, depth: int) -> Self:
        (order,) = take(cls.__name__, config, "order")
        return cls(HostArray.from_config("order", order, 2, ["int64"]).values)

    def __repr__(self) -> str:
        return f"Permutation({self._order})"
