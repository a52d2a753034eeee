"""Warps: the scene moved by a flow, by an affine map, or as a camera sees a plane."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from .fields import LARGEST, Entries, Held, RealNumber, Rows, Whole, holds
from .host_array import HostArray
from .sampling import FILL, MODE, SampledOperator, Sampling, sampling
from .saved import serialisable
from .shapes import Size, nearest_by_search

if TYPE_CHECKING:
    from typing_extensions import Self

HORIZON = 1e-6  # how near a pixel may come to the horizon: there, one pixel shows this part of the scene's centre


@serialisable
@dataclass(frozen=True, init=False, repr=False)
class Warp(SampledOperator):
    """Show at pixel (i, j) the source at column j + dx and row i + dy, with (dx, dy) = flow[i, j] in pixels.

    forward   y[i, j] = sum_k w_k x[q_k]: four pixels around (j + dx, i + dy) with bilinear weights, or the nearest one
    adjoint   x[p] = sum of w_k y[i, j] over the q_k = p        (..., H, W) -> (..., H, W)

    A backward map, as cv2.remap and torch's grid_sample have it. `flow` is an (H, W, 2) array (anything numpy reads, or
    a torch tensor), copied as float64; `mode` is "bilinear" or "nearest" (half a pixel goes right and down); `fill` is
    what is outside: "edge", "reflect" (about the border pixel) or "zero". Not isotropic; its noise partner is
    `ConservativeSplit`. Warps with equal flows are equal. In torch, bilinear positions on images of up to 1024 pixels a
    side are rounded to the dtype, in float32 by 4e-8 of the side. Raises ValueError for a flow that is not finite or
    not of that shape, ShapeError for images of another size, TypeError for a dtype that is not real floating.

    Source: section 4 of arXiv 2604.09227 (warping); bilinear interpolation.
    """

    _flow: HostArray = field(metadata=holds(Held(3)))
    mode: str = field(metadata=holds(MODE, named=True))
    fill: str = field(metadata=holds(FILL, named=True))
    _table: Sampling = field(init=False, compare=False)

    def __init__(self, flow: Any, mode: str = "bilinear", fill: str = "edge"):
        self._take(_flow=flow, mode=mode, fill=fill)

    def _prepare(self) -> None:
        shape = self.flow.shape
        if len(shape) != 3 or shape[-1] != 2 or self.flow.size == 0:
            raise ValueError(f"flow must be an array of height x width x 2, (dx, dy), not of shape {shape}")
        size = self._in_size((0, 0))
        # Ready from the start: torch.compile can take tables that are there, not build them from a digest.
        object.__setattr__(self, "_table", sampling(*self._positions(size), size, self.mode, self.fill))

    def __reduce__(self) -> tuple[type, tuple[np.ndarray, str, str]]:
        return type(self), (self.flow, self.mode, self.fill)  # the tables are made again, not carried along

    @property
    def flow(self) -> np.ndarray:
        """(dx, dy) in pixels, float64 (H, W, 2), read-only."""
        return self._flow.values

    def on_cells(self, pixels: int) -> Warp:
        """The mean of the flow in each cell, in cells; raises ValueError unless `pixels` divides H and W."""
        cell, (height, width) = Whole(1).take("pixels", pixels), self.flow.shape[:2]
        if height % cell or width % cell:
            raise ValueError(f"{self!r} has no whole number of cells of {cell} pixels: pad or crop the flow before")
        blocks = self.flow.reshape(height // cell, cell, width // cell, cell, 2)
        return Warp(blocks.mean(axis=(1, 3)) / cell, self.mode, self.fill)

    def _positions(self, size: Size) -> tuple[np.ndarray, np.ndarray]:
        rows, columns = np.indices(self.flow.shape[:2])
        return columns + self.flow[..., 0], rows + self.flow[..., 1]

    def _sampling(self, size: Size, tracing: bool = False) -> Sampling:
        return self._table

    def _fault(self, size: Size) -> str | None:
        height, width = self._in_size(size)
        return None if tuple(size) == (height, width) else f"its flow is of {height} x {width} pixels"

    def _nearest(self, size: Size) -> tuple[Size, ...]:
        return (self._in_size(size),)

    def _out_size(self, size: Size) -> Size:
        return self._in_size(size)

    def _in_size(self, size: Size) -> Size:
        return self.flow.shape[0], self.flow.shape[1]


@serialisable
@dataclass(frozen=True, init=False, repr=False)
class Affine(SampledOperator):
    """Move what is at p to M p + t, with p = (x, y) in pixels from the centre of the image, x right and y down.

    forward   y at q = x at M^-1 (q - t), with four bilinear weights or the nearest pixel
    adjoint   every pixel goes back with the weights it was made of        (..., H, W) -> (..., H, W)

    `matrix` is [M t], 2 x 3, or M alone, 2 x 2; `mode` and `fill` are those of `Warp`, and so are the noise partner
    (`ConservativeSplit`) and the precision. Any size; `on_cells` divides t. See `rotation`, `zoom` and `shift`. Going
    down, zoom does not average: compose it with a reduction. Raises ValueError for a singular matrix, TypeError for a
    dtype that is not real floating.

    Source: bilinear interpolation.
    """

    entries: Rows = field(metadata=holds(Entries(((2, 3), (2, 2))), key="matrix"))  # [M t]
    mode: str = field(metadata=holds(MODE, named=True))
    fill: str = field(metadata=holds(FILL, named=True))
    _back: Rows = field(init=False, compare=False)  # M^-1

    def __init__(self, matrix: Any, mode: str = "bilinear", fill: str = "edge"):
        self._take(entries=matrix, mode=mode, fill=fill)

    def _prepare(self) -> None:
        object.__setattr__(self, "entries", tuple((*row, 0.0)[:3] for row in self.entries))
        object.__setattr__(self, "_back", _inverse("matrix", tuple(row[:2] for row in self.entries)))

    @classmethod
    def rotation(cls, degrees: float, mode: str = "bilinear", fill: str = "edge") -> Self:
        """Rotation about the centre, counter-clockwise as seen on a screen; exact for multiples of 90 degrees."""
        turns, rest = divmod(_real("degrees", degrees), 90.0)
        cos, sin = math.cos(math.radians(rest)), math.sin(math.radians(rest))
        for _ in range(int(turns % 4)):
            cos, sin = -sin, cos
        return cls(((cos, sin), (-sin, cos)), mode, fill)

    @classmethod
    def zoom(cls, factor: float, mode: str = "bilinear", fill: str = "edge") -> Self:
        """Zoom about the centre; a factor above 1 magnifies."""
        if _real("factor", factor) <= 0:
            raise ValueError(f"factor must be more than 0, not {factor}")
        return cls(((float(factor), 0.0), (0.0, float(factor))), mode, fill)

    @classmethod
    def shift(cls, dx: float, dy: float = 0.0, mode: str = "bilinear", fill: str = "edge") -> Self:
        """Translation by dx pixels to the right and dy pixels down, whole or not."""
        return cls(((1.0, 0.0, _real("dx", dx)), (0.0, 1.0, _real("dy", dy))), mode, fill)

    def on_cells(self, pixels: int) -> Affine:
        cell = Whole(1).take("pixels", pixels)
        return Affine(tuple((a, b, t / cell) for a, b, t in self.entries), self.mode, self.fill)

    def _positions(self, size: Size) -> tuple[np.ndarray, np.ndarray]:
        (a, b), (c, d) = self._back
        (_, _, tx), (_, _, ty) = self.entries
        middle_y, middle_x = (size[0] - 1) / 2, (size[1] - 1) / 2
        x = np.arange(size[1])[None, :] - middle_x - tx
        y = np.arange(size[0])[:, None] - middle_y - ty
        return a * x + b * y + middle_x, c * x + d * y + middle_y


@serialisable
@dataclass(frozen=True, init=False, repr=False)
class Homography(SampledOperator):
    """Move what is at p to (u, v) / w with (u, v, w) = M (p, 1), p = (x, y) from the centre, x right and y down.

    forward   y at q = x at (u, v) / w with (u, v, w) = M^-1 (q, 1), four bilinear weights or the nearest pixel
    adjoint   every pixel goes back with the weights it was made of        (..., H, W) -> (..., H, W)

    `matrix` is 3 x 3, of any scale but 0; `mode` and `fill` are those of `Warp`, and so are the noise partner
    (`ConservativeSplit`) and the precision. `on_cells` is S M S^-1 with S = diag(1/pixels, 1/pixels, 1). Raises
    ValueError for a matrix that is singular, sends the centre to the horizon or shows there what is behind the camera,
    ShapeError for images in which the horizon (w = 0) shows, TypeError for a dtype that is not real floating.

    Source: projective geometry; Hartley and Zisserman 2004, section 2.3.
    """

    entries: Rows = field(metadata=holds(Entries(((3, 3),)), key="matrix"))  # M, its last entry 1
    mode: str = field(metadata=holds(MODE, named=True))
    fill: str = field(metadata=holds(FILL, named=True))
    _back: Rows = field(init=False, compare=False)  # M^-1

    def __init__(self, matrix: Any, mode: str = "bilinear", fill: str = "edge"):
        self._take(entries=matrix, mode=mode, fill=fill)

    def _prepare(self) -> None:
        last = self.entries[2][2]
        if last == 0:
            raise ValueError("matrix sends the centre of the image to the horizon: its last entry must not be 0")
        scaled = [[value / last for value in row] for row in self.entries]
        entries = Entries(((3, 3),)).take("matrix divided by its last entry", scaled)
        object.__setattr__(self, "entries", entries)
        object.__setattr__(self, "_back", _inverse("matrix", entries))
        if self._back[2][2] <= HORIZON:
            raise ValueError("matrix shows what is behind the camera at the centre of the image")

    def on_cells(self, pixels: int) -> Homography:
        s = Whole(1).take("pixels", pixels)
        (a, b, tx), (c, d, ty), (e, f, one) = self.entries
        return Homography(((a, b, tx / s), (c, d, ty / s), (e * s, f * s, one)), self.mode, self.fill)

    def _fault(self, size: Size) -> str | None:
        if min(size) <= 0:
            return "height and width must be positive"
        (_, _, (e, f, g)) = self._back
        # w is affine in the position, so its least value over the image is at a corner.
        least = g - abs(e) * (size[1] - 1) / 2 - abs(f) * (size[0] - 1) / 2
        return None if least > HORIZON else "the horizon would cross the image: it must be smaller"

    def _nearest(self, size: Size) -> tuple[Size, ...]:
        return nearest_by_search(size, lambda near: self._fault(near) is None)

    def _positions(self, size: Size) -> tuple[np.ndarray, np.ndarray]:
        back = self._back
        middle_y, middle_x = (size[0] - 1) / 2, (size[1] - 1) / 2
        x = np.arange(size[1])[None, :] - middle_x
        y = np.arange(size[0])[:, None] - middle_y
        u, v, w = (a * x + b * y + c for a, b, c in back)
        return u / w + middle_x, v / w + middle_y


def _inverse(name: str, matrix: Rows) -> Rows:
    """The inverse, float64; raises ValueError for a matrix that is singular, or so nearly that entries explode."""
    square = np.array(matrix)
    try:
        inverse = np.linalg.inv(square)
    except np.linalg.LinAlgError:
        inverse = np.full(square.shape, np.inf)
    if not np.abs(inverse).max() <= LARGEST:
        raise ValueError(f"{name} is singular: it maps the whole image to a line or a point, which no pixel can show")
    return tuple(map(tuple, inverse.tolist()))


def _real(name: str, value: float) -> float:
    return RealNumber().take(name, value)
