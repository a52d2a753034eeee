"""Translation by whole pixels, with new content where the image has moved away, and fresh noise there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from .arrays import Array, array_namespace, device_of, is_torch, padded
from .base import SameSize
from .fields import Choice, Whole, holds
from .noise import NoisePartner
from .saved import serialisable
from .shapes import Size, whole_cells

FILLS = ("reflect", "edge", "zero")
PADDING = {"reflect": "reflect", "edge": "replicate", "zero": "constant"}  # as torch names them


@serialisable
@dataclass(frozen=True, repr=False)
class Translate(SameSize):
    """Move the image by dx pixels to the right and dy pixels down; what is uncovered is filled.

    forward   y[i, j] = x[r(i - dy), r(j - dx)]      (..., H, W) -> (..., H, W)
    adjoint   x[a, b] = sum of the y[i, j] that took it

    `r` is `fill`: "reflect" mirrors at the border without repeating the border pixel, "edge" repeats the border pixel,
    "zero" leaves 0. Not isotropic (filled pixels are copies): the noise partner moves the noise and draws the uncovered
    band afresh, which is exact. Pixels are those of the array at hand; see `on_cells`. Raises ShapeError for images
    that the move leaves no part of.

    Source: section 4 of arXiv 2604.09227 (translation); fresh noise in the band.
    """

    dx: int = field(default=0, metadata=holds(Whole()))
    dy: int = field(default=0, metadata=holds(Whole()))
    fill: str = field(default="reflect", metadata=holds(Choice(FILLS), named=True))

    @property
    def gain(self) -> float | None:
        return 1.0 if self.dx == self.dy == 0 else None

    @property
    def preserves_constants(self) -> bool:
        return self.fill != "zero" or self.gain is not None

    def noise_partner(self) -> NoisePartner:
        return FreshBand(self) if self.gain is None else super().noise_partner()

    def coverage(self, shape: Sequence[int]) -> np.ndarray:
        height, width = self.out_shape(shape)[-2:]
        rows, columns = (
            _shifted(np.ones((height, 1)), -2, self.dy, "zero"),
            _shifted(np.ones(width), -1, self.dx, "zero"),
        )
        return rows * columns

    def on_cells(self, pixels: int) -> Translate:
        return Translate(*whole_cells(self, (self.dx, self.dy), pixels), self.fill)

    def axes(self, shape: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        height, width = self.out_shape(shape)[-2:]
        return _shifted(np.eye(height), -2, self.dy, self.fill), _shifted(np.eye(width), -2, self.dx, self.fill)

    def _fault(self, size: Size) -> str | None:
        if size[0] > abs(self.dy) and size[1] > abs(self.dx):
            return None
        return f"height and width must be more than {abs(self.dy)} and {abs(self.dx)}"

    def _nearest(self, size: Size) -> tuple[Size, ...]:
        return ((max(size[0], abs(self.dy) + 1), max(size[1], abs(self.dx) + 1)),)

    def _forward(self, x: Array) -> Array:
        if is_torch(x) and x.dtype.is_floating_point and 0 not in x.shape:
            return self._window(x)
        for axis, d in ((-2, self.dy), (-1, self.dx)):
            x = _shifted(x, axis, d, self.fill)
        return x

    def _window(self, x: Array) -> Array:
        """A view of torch's padded image: one copy instead of one an axis."""
        height, width = x.shape[-2:]
        before, after = ((max(0, s * self.dy), max(0, s * self.dx)) for s in (1, -1))
        wide = padded(x, before, after, PADDING[self.fill])
        return wide[..., after[0] : after[0] + height, after[1] : after[1] + width]

    def _adjoint(self, y: Array, size: Size) -> Array:
        for axis, d in ((-2, self.dy), (-1, self.dx)):
            y = _shifted_back(y, axis, d, self.fill)
        return y


@dataclass(frozen=True, repr=False)
class FreshBand(NoisePartner):
    """The noise partner of a translation.

    forward   noise moved by (dx, dy), beside it fresh noise        (..., H, W) -> (..., H, W)

    Every output pixel is an input pixel or a fresh one, no two the same: white exactly, whatever fill the signal has.
    """

    operator: Translate

    def _fresh_count(self, size: Size) -> int:
        (height, width), dy, dx = size, abs(self.operator.dy), abs(self.operator.dx)
        return dy * width + (height - dy) * dx

    def _combined(self, noise: Array, fresh: Array) -> Array:
        xp, (*lead, height, width) = array_namespace(noise), noise.shape
        dx, dy = self.operator.dx, self.operator.dy
        kept = height - abs(dy)
        across = xp.reshape(fresh[..., : abs(dy) * width], (*lead, abs(dy), width))
        along = xp.reshape(fresh[..., abs(dy) * width :], (*lead, kept, abs(dx)))
        view = noise[..., max(0, -dy) : height - max(0, dy), max(0, -dx) : width - max(0, dx)]
        moved = xp.concat([along, view] if dx > 0 else [view, along], axis=-1)
        return xp.concat([across, moved] if dy > 0 else [moved, across], axis=-2)


def _shifted(x: Array, axis: int, d: int, fill: str) -> Array:
    """One axis: the part that stays in view, and beside it the band that is filled."""
    if d == 0:
        return x
    xp, n, width = array_namespace(x), x.shape[axis], abs(d)
    if fill == "reflect":
        band = xp.flip(_part(x, axis, 1, width + 1) if d > 0 else _part(x, axis, n - 1 - width, n - 1), axis=axis)
    else:
        border = _part(x, axis, 0, 1) if d > 0 else _part(x, axis, n - 1, n)
        shape = list(x.shape)
        shape[axis] = width
        band = xp.broadcast_to(border if fill == "edge" else xp.zeros_like(border), tuple(shape))
    return xp.concat([band, _part(x, axis, 0, n - d)] if d > 0 else [_part(x, axis, width, n), band], axis=axis)


def _shifted_back(y: Array, axis: int, d: int, fill: str) -> Array:
    """The transpose of `_shifted`: what stayed in view goes back, and the band adds to the pixels it copied."""
    if d == 0:
        return y
    xp, n, width = array_namespace(y), y.shape[axis], abs(d)
    band, kept = (0, width), (width, n)
    if d < 0:
        band, kept = (n - width, n), (0, n - width)
    seen = _placed(_part(y, axis, *kept), axis, 0 if d > 0 else width, n)
    if fill == "zero":
        return seen
    lost = _part(y, axis, *band)
    if fill == "reflect":
        return seen + _placed(xp.flip(lost, axis=axis), axis, 1 if d > 0 else n - 1 - width, n)
    return seen + _placed(xp.sum(lost, axis=axis, keepdims=True, dtype=y.dtype), axis, 0 if d > 0 else n - 1, n)


def _part(x: Array, axis: int, start: int, stop: int) -> Array:
    """A range of one of the two last axes."""
    return x[..., start:stop, :] if axis == -2 else x[..., start:stop]


def _placed(part: Array, axis: int, start: int, length: int) -> Array:
    """`part` at `start` of an axis of `length`, zeros around it."""
    xp, shape = array_namespace(part), list(part.shape)
    pieces = [part]
    for missing, at_front in ((start, True), (length - start - part.shape[axis], False)):
        shape[axis] = missing
        zeros = xp.zeros(tuple(shape), dtype=part.dtype, device=device_of(part))
        pieces = [zeros, *pieces] if at_front else [*pieces, zeros]
    return xp.concat(pieces, axis=axis)
