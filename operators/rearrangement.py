"""Operators that only move pixels around: circular moves, mirror images, quarter turns and any permutation."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy import sparse  # type: ignore[import-untyped]

from .arrays import Array, array_namespace, take_pixels
from .base import SameSize
from .fields import Choice, Held, Whole, holds
from .host_array import HostArray
from .saved import serialisable
from .shapes import Size, whole_cells

AXES = {"horizontal": (-1,), "vertical": (-2,), "both": (-2, -1)}


class Rearrangement(SameSize):
    """A permutation matrix: y[k] = x[p(k)], so that A^T = A^-1, exactly and in any dtype.

    Gain 1: white noise stays white, and the noise partner is the operator itself. A new one defines `inverse` and
    `_forward` besides the sizes. Raises ShapeError for images without pixels.
    """

    @property
    @abstractmethod
    def inverse(self) -> Rearrangement:
        """The rearrangement that undoes this one, bit for bit; also its transpose."""

    @property
    def gain(self) -> float:
        return 1.0

    @property
    def preserves_constants(self) -> bool:
        return True

    def transposed(self, shape: Size | None = None) -> Rearrangement:
        return self.inverse

    def matrix(self, shape: Sequence[int]) -> sparse.csr_array:
        height, width = self.inverse.out_shape(self.out_shape(shape))[-2:]
        taken = self._forward(np.arange(height * width).reshape(height, width)).ravel()
        return sparse.csr_array((np.ones(len(taken)), taken, np.arange(len(taken) + 1)), shape=(len(taken),) * 2)

    def _adjoint(self, y: Array, size: Size) -> Array:
        return self.inverse._forward(y)


@serialisable
@dataclass(frozen=True, repr=False)
class Identity(Rearrangement):
    """Leave the image as it is.

    forward   y = x        (..., H, W) -> (..., H, W), the same array
    adjoint   the same

    Gain 1, any size and dtype; the same on every grid (`on_cells`). Source: linear algebra.
    """

    @property
    def inverse(self) -> Identity:
        return self

    def on_cells(self, pixels: int) -> Identity:
        Whole(1).take("pixels", pixels)
        return self

    def axes(self, shape: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        height, width = self.out_shape(shape)[-2:]
        return np.eye(height), np.eye(width)

    def _forward(self, x: Array) -> Array:
        return x


@serialisable
@dataclass(frozen=True, repr=False)
class Roll(Rearrangement):
    """Move the image by dx pixels to the right and dy pixels down, around the borders.

    forward   y[i, j] = x[(i - dy) mod H, (j - dx) mod W]        (..., H, W) -> (..., H, W)
    adjoint   the roll back

    Gain 1, exact, any size and dtype. Pixels are those of the array at hand; see `on_cells`, which raises ValueError
    unless the move is a whole number of cells. Source: numpy.roll.
    """

    dx: int = field(default=0, metadata=holds(Whole()))
    dy: int = field(default=0, metadata=holds(Whole()))

    @property
    def inverse(self) -> Roll:
        return Roll(-self.dx, -self.dy)

    def on_cells(self, pixels: int) -> Roll:
        return Roll(*whole_cells(self, (self.dx, self.dy), pixels))

    def _forward(self, x: Array) -> Array:
        return array_namespace(x).roll(x, (self.dy, self.dx), axis=(-2, -1))


@serialisable
@dataclass(frozen=True, repr=False)
class Flip(Rearrangement):
    """Mirror left and right ("horizontal"), top and bottom ("vertical"), or "both".

    forward   y[i, j] = x[i, W - 1 - j], x[H - 1 - i, j], or x[H - 1 - i, W - 1 - j]        (..., H, W) -> (..., H, W)
    adjoint   the same

    Gain 1, exact, any size and dtype; a view where the array library has one. The same on every grid (`on_cells`).
    Raises ValueError for another axis. Source: numpy.flip.
    """

    axis: str = field(default="horizontal", metadata=holds(Choice(tuple(AXES))))

    @property
    def inverse(self) -> Flip:
        return self

    def on_cells(self, pixels: int) -> Flip:
        Whole(1).take("pixels", pixels)
        return self

    def _forward(self, x: Array) -> Array:
        return array_namespace(x).flip(x, axis=AXES[self.axis])


@serialisable
@dataclass(frozen=True, repr=False)
class QuarterTurn(Rearrangement):
    """Rotate by `turns` times 90 degrees, counter-clockwise as seen on a screen.

    forward   one turn: y[i, j] = x[j, W - 1 - i]        (..., H, W) -> (..., W, H), or (..., H, W) for even turns
    adjoint   the turn back

    `turns` is any integer, kept modulo 4. Gain 1, exact, any size and dtype; a view where the array library has one.
    The same on every grid (`on_cells`). Source: numpy.rot90.
    """

    turns: int = field(default=1, metadata=holds(Whole()))

    def _prepare(self) -> None:
        object.__setattr__(self, "turns", self.turns % 4)

    @property
    def inverse(self) -> QuarterTurn:
        return QuarterTurn(-self.turns)

    def on_cells(self, pixels: int) -> QuarterTurn:
        Whole(1).take("pixels", pixels)
        return self

    def _out_size(self, size: Size) -> Size:
        return size if self.turns % 2 == 0 else (size[1], size[0])

    def _in_size(self, size: Size) -> Size:
        return self._out_size(size)

    def _forward(self, x: Array) -> Array:
        xp = array_namespace(x)
        if self.turns == 0:
            return x
        if self.turns == 2:
            return xp.flip(x, axis=(-2, -1))
        return xp.flip(xp.matrix_transpose(x), axis=-2 if self.turns == 1 else -1)


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

    _order: HostArray = field(metadata=holds(Held(2, np.int64)))
    _taken: np.ndarray = field(init=False, compare=False)
    _back: np.ndarray = field(init=False, compare=False)

    def __init__(self, order: Any):
        self._take(_order=order)

    def _prepare(self) -> None:
        if self.order.ndim != 2 or self.order.size == 0:
            raise ValueError(f"order must be an array of height x width, not of shape {self.order.shape}")
        if not np.array_equal(np.sort(self.order, axis=None), np.arange(self.order.size)):
            raise ValueError(f"order must hold each position from 0 to {self.order.size - 1} once")
        object.__setattr__(self, "_taken", self.order.copy())  # a copy: torch warns of read-only arrays
        object.__setattr__(self, "_back", np.argsort(self.order, axis=None).reshape(self.order.shape))

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
