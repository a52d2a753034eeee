"""Translation by whole pixels, with new content where the image has moved away."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .arrays import Array, array_namespace, device_of, is_torch, padded
from .base import LinearOperator
from .config import Config, serialisable, signed, take, text
from .same_size import SameSize
from .shapes import Size
from .values import choice, whole, whole_cells

if TYPE_CHECKING:
    from typing_extensions import Self

    from .noise.band import FreshBand

FILLS = ("reflect", "edge", "zero")
PADDING = {"reflect": "reflect", "edge": "replicate", "zero": "constant"}  # as torch names them


@serialisable
@dataclass(frozen=True, init=False, repr=False)
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

    dx: int
    dy: int
    fill: str

    def __init__(self, dx: int = 0, dy: int = 0, fill: str = "reflect"):
        object.__setattr__(self, "dx", whole("dx", dx))
        object.__setattr__(self, "dy", whole("dy", dy))
        object.__setattr__(self, "fill", choice("fill", fill, FILLS))

    @property
    def gain(self) -> float | None:
        return 1.0 if self.dx == self.dy == 0 else None

    @property
    def preserves_constants(self) -> bool:
        return self.fill != "zero" or self.gain is not None

    def noise_partner(self) -> LinearOperator | FreshBand:  # type: ignore[override]
        from .noise.band import FreshBand

        return self if self.gain is not None else FreshBand(self)

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

    def _config(self) -> Config:
        return {"dx": self.dx, "dy": self.dy, "fill": self.fill}

    @classmethod
    def _from_config(cls, config: Config, depth: int) -> Self:
        dx, dy, fill = take(cls.__name__, config, "dx", "dy", "fill")
        return cls(signed("dx", dx), signed("dy", dy), text("fill", fill))

    def __repr__(self) -> str:
        return f"Translate({self.dx}, {self.dy}, fill={self.fill!r})"


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
