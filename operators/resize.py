"""Resize with the usual kernels, to any size, and the split of white noise among the target pixels."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import lru_cache
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from .arrays import Array, accumulation_dtype, array_namespace, cast, full_precision
from .fields import MAX_SIDE, Choice, Config, Flag, Pair, Ratios, Whole, holds
from .noise import NoisePartner
from .saved import grown_to, moderate, serialisable
from .separable import Banded, SeparableOperator
from .shapes import Size, divided, indivisible, multiplied, nearest_divisible

if TYPE_CHECKING:
    from typing_extensions import Self

KERNELS = ("area", "bilinear", "bicubic", "lanczos")


@dataclass(frozen=True, init=False, repr=False)
class ResizeOperator(SeparableOperator):
    """Resize to `shape` (h, w) from any size, or to a size `scale` times smaller; one of the two is given.

    `scale` is exact: an int or a Fraction, or one each for height and width. With `shape` the input size does not
    follow from the output: `adjoint` needs it. Raises ShapeError for an input that `scale` does not divide into whole
    pixels.
    """

    shape: Size | None = field(metadata=holds(Pair(1, MAX_SIDE), none="left out"))
    scale: tuple[Fraction, Fraction] | None = field(kw_only=True, metadata=holds(Ratios(), none="left out"))
    _shape_goes_up: ClassVar[bool] = True  # whether the target shape may be larger than the input
    _scale_goes_up: ClassVar[bool] = True  # whether the scale may be below 1
    _way_up: ClassVar[str] = ""  # what to use instead where one of these may not

    def __init__(self, shape: Size | None = None, *, scale: int | Fraction | tuple | None = None):
        self._take(shape=shape, scale=scale)

    def _prepare(self) -> None:
        if (self.shape is None) == (self.scale is None):
            raise TypeError(f"{type(self).__name__} takes a target shape (height, width) or a scale, one of the two")
        if self.scale is not None and min(self.scale) < 1 and not self._scale_goes_up:
            raise ValueError(f"scale must be at least 1, not {min(self.scale)}; {self._way_up}")

    @property
    def preserves_constants(self) -> bool:
        return True

    def on_cells(self, pixels: int) -> Self:
        cells = Whole(1).take("pixels", pixels)
        if self.shape is None:
            return self
        height, width = self.shape
        if height % cells or width % cells:
            near = max(1, round(height / cells)) * cells, max(1, round(width / cells)) * cells
            raise ValueError(f"{self!r} does not lead to whole cells of {cells} pixels; nearest shape: {near}")
        return replace(self, shape=(height // cells, width // cells))

    def _grown(self, before: float, back: bool) -> float:
        if self.scale is not None:
            return moderate(before * float(max(self.scale) if back else 1 / min(self.scale)))
        assert self.shape is not None
        return 1.0 if back else grown_to(self.shape)  # back to a size that the caller gives

    def _length(self, axis: int, length: int) -> int:
        """The target length of an axis."""
        if self.scale is None:
            assert self.shape is not None
            return self.shape[axis]
        ratio = self.scale[axis]
        return length // ratio.numerator * ratio.denominator

    def _fault(self, size: Size) -> str | None:
        if self.scale is not None:
            return indivisible(size, self.scale)
        assert self.shape is not None
        h, w = (1, 1) if self._shape_goes_up else self.shape
        if size[0] >= h and size[1] >= w:
            return None
        return f"height and width must be at least {h} and {w}{self._way_up and '; ' + self._way_up}"

    def _nearest(self, size: Size) -> tuple[Size, ...]:
        if self.scale is not None:
            return nearest_divisible(size, self.scale)
        assert self.shape is not None
        h, w = (1, 1) if self._shape_goes_up else self.shape
        return ((max(size[0], h), max(size[1], w)),)

    def _out_size(self, size: Size) -> Size:
        if self.scale is not None:
            return divided(size, self.scale)
        assert self.shape is not None
        return self.shape

    def _in_size(self, size: Size) -> Size | None:
        return None if self.scale is None else multiplied(size, self.scale)

    @classmethod
    def _from_config(cls, config: Config, depth: int) -> Self:
        if ("shape" in config) == ("scale" in config):
            raise ValueError(f"{cls.__name__} config must hold a shape or a scale, one of the two")
        return super()._from_config(config, depth)

    def _written(self) -> str:
        """The target as the constructor takes it: `(shape` or `.by(scale`, bracket open."""
        if self.scale is None:
            return f"{type(self).__name__}({self.shape}"
        return f"{type(self).__name__}.by({Ratios().show(self.scale)}"

    def __repr__(self) -> str:
        return self._written() + ")"


@serialisable
@dataclass(frozen=True, init=False, repr=False)
class Resize(ResizeOperator):
    """Resample with a kernel, pixel centres aligned: target pixel j is at source coordinate (j + 1/2) W/w - 1/2.

    forward   y = R x C^T, rows of R and C the kernel around that coordinate        (..., H, W) -> (..., h, w)
    adjoint   x = R^T y C

    `kernel` is "area" (mean of what the target pixel covers), "bilinear", "bicubic" or "lanczos" (three lobes). With
    `antialias` a kernel is widened where an axis goes down and taps beyond the border are left out, the others making
    up for them: torch's `interpolate(antialias=True, align_corners=False)` and PIL's `resize`; the bicubic slope is
    a = -0.5. Without, the kernel keeps its width and the border pixel repeats: `interpolate(antialias=False)`, with
    a = -0.75, and aliasing. "area" has no such choice.

    `Resize((h, w))` leads to that size from any size, each axis down or up; `Resize.by(scale)` makes any size `scale`
    times smaller (an int or a Fraction, or one each; below 1 it goes up). `area` by whole numbers is `BlockMean`, with
    its gain. Others colour white noise: their noise partner splits it among the target pixels by covered area. A fixed
    shape knows its gain only with the input: `noise_gain`. Raises ShapeError for an input that `scale` does not divide
    into whole pixels, TypeError for a dtype that is not real floating, ValueError for other kernels.

    Source: Keys 1981 (bicubic), Duchon 1979 (Lanczos); borders as in torch and PIL.
    """

    kernel: str = field(metadata=holds(Choice(KERNELS)))
    antialias: bool = field(metadata=holds(Flag()))

    def __init__(
        self,
        shape: Size | None = None,
        kernel: str = "area",
        antialias: bool = True,
        *,
        scale: int | Fraction | tuple | None = None,
    ):
        self._take(shape=shape, scale=scale, kernel=kernel, antialias=antialias)

    def _prepare(self) -> None:
        super()._prepare()
        if self.kernel == "area" and not self.antialias:
            raise ValueError("the area kernel averages what a pixel covers: there is none without antialias")

    @classmethod
    def by(cls, scale: int | Fraction | tuple, kernel: str = "area", antialias: bool = True) -> Self:
        """To a size `scale` times smaller: by(2), by(Fraction(4, 3)), or twice as large, by(Fraction(1, 2))."""
        return cls(None, kernel, antialias, scale=scale)

    @property
    def gain(self) -> float | None:
        if self.scale == (1, 1):
            return 1.0
        if self.scale is None or self.kernel != "area" or any(s.denominator > 1 for s in self.scale):
            return None
        return 1 / math.sqrt(self.scale[0] * self.scale[1])

    def noise_partner(self) -> NoisePartner:
        return AreaSplit(self) if self.gain is None else super().noise_partner()

    def _axis(self, axis: int, length: int) -> np.ndarray:
        target = self._length(axis, length)
        if self.kernel == "area":
            return area_matrix(length, target)
        if self.antialias:
            return antialiased_matrix(length, target, ANTIALIASED[self.kernel])
        return interpolating_matrix(length, target, INTERPOLATING[self.kernel])

    def __repr__(self) -> str:
        return f"{self._written()}, {self.kernel!r}{'' if self.antialias else ', antialias=False'})"


@dataclass(frozen=True, repr=False)
class AreaSplit(NoisePartner):
    """The conservative split of white noise by covered area, for any resize, down or up.

    forward   y_i = sum_j inc_ij / sqrt(sum_j a_ij)        one axis after the other, (..., H, W) -> (..., h, w)
              inc_ij = a_ij X_j + e_ij - a_ij sum_k e_kj,  e_ij = sqrt(a_ij) z_ij, z fresh white noise

    a_ij is the part of source cell j that target cell i covers, sum_i a_ij = 1. The increments have covariance
    diag(a) and add up to X_j: white exactly, and no noise is lost. A cell that one target covers whole needs nothing
    fresh, so going down by a whole factor is the block sum / sqrt(n); going up by one is the conditional upsampling of
    each value. Kernels that reach farther than their cell do not matter here: noise goes where the cell goes.

    Both parts are band matrices: products, several times faster than scattered sums, and the same on every run.
    Source: Brownian bridges, as in infinite-resolution noise (Chang et al. 2024), in closed form.
    """

    operator: SeparableOperator

    def _fresh_count(self, size: Size) -> int:
        (height, width), (h, w) = size, self.operator._out_size(size)
        return split(height, h).fresh * width + h * split(width, w).fresh

    def _combined(self, noise: Array, fresh: Array) -> Array:
        xp, (*lead, height, width) = array_namespace(noise), noise.shape
        h, w = self.operator._out_size((height, width))
        rows, columns = split(height, h), split(width, w)
        work, fresh = cast(noise, accumulation_dtype(noise)), cast(fresh, accumulation_dtype(noise))
        used = rows.fresh * width
        with full_precision(noise):
            work = rows.carried.down(work)
            if rows.fresh:
                work = work + rows.bridge.down(xp.reshape(fresh[..., :used], (*lead, rows.fresh, width)))
            work = columns.carried.across(work)
            if columns.fresh:
                work = work + columns.bridge.across(xp.reshape(fresh[..., used:], (*lead, h, columns.fresh)))
        return cast(work, noise.dtype)


@dataclass(frozen=True, eq=False)
class Split:
    """One axis of the split, as matrices: what targets get of the source cells, and of the fresh noise."""

    fresh: int  # how many fresh normals a line takes: one for each piece of a divided cell
    carried: Banded  # m x n
    bridge: Banded  # m x fresh


@lru_cache(maxsize=64)
def split(source: int, target: int) -> Split:
    """The pieces of `source` cells that lie in `target` cells over the same line."""
    # In units of 1/(source target) of the line all borders are integers.
    edges = np.union1d(np.arange(source + 1) * target, np.arange(target + 1) * source)
    start, part = edges[:-1], np.diff(edges) / target
    cell, goes = start // target, start // source
    norm = 1 / np.sqrt(np.bincount(goes, part, target))

    carried = np.zeros((target, source))
    carried[goes, cell] = norm[goes] * part

    (divided,) = np.nonzero(part < 1)
    loose = np.sqrt(part[divided])
    bridge = np.zeros((target, len(divided)))
    bridge[goes[divided], np.arange(len(divided))] = loose * norm[goes[divided]]
    bridge -= carried[:, cell[divided]] * loose
    return Split(len(divided), Banded.of(carried), Banded.of(bridge))


def triangle(u: np.ndarray) -> np.ndarray:
    """Linear interpolation: 1 - |u| up to 1."""
    return np.maximum(1 - np.abs(u), 0.0)


def cubic(u: np.ndarray, a: float) -> np.ndarray:
    """Cubic convolution with slope `a` at 1, up to 2 (Keys 1981)."""
    u = np.abs(u)
    near = ((a + 2) * u - (a + 3)) * u * u + 1
    far = a * (((u - 5) * u + 8) * u - 4)
    return np.where(u < 1, near, np.where(u < 2, far, 0.0))


def lanczos(u: np.ndarray) -> np.ndarray:
    """sinc(u) sinc(u / 3) up to 3 (Duchon 1979)."""
    away = np.where(u == 0, 1.0, u) * math.pi
    value = 3 * np.sin(away) * np.sin(away / 3) / (away * away)
    return np.where(u == 0, 1.0, np.where(np.abs(u) < 3, value, 0.0))


def _smoothing_cubic(u: np.ndarray) -> np.ndarray:
    return cubic(u, -0.5)


def _sharp_cubic(u: np.ndarray) -> np.ndarray:
    return cubic(u, -0.75)


Kernel = Callable[[np.ndarray], np.ndarray]
ANTIALIASED: dict[str, Kernel] = {"bilinear": triangle, "bicubic": _smoothing_cubic, "lanczos": lanczos}
INTERPOLATING: dict[str, Kernel] = {"bilinear": triangle, "bicubic": _sharp_cubic, "lanczos": lanczos}


def area_matrix(source: int, target: int) -> np.ndarray:
    """Every target pixel is the mean of what it covers: overlap of [i s, (i + 1) s] and [j, j + 1], by s; s = n / m."""
    i, j = np.arange(target)[:, None], np.arange(source)[None, :]
    # In units of 1/m of a source pixel all borders are integers, and whole factors come out exact.
    overlap = np.minimum((i + 1) * source, (j + 1) * target) - np.maximum(i * source, j * target)
    return np.maximum(overlap, 0) / source


def antialiased_matrix(source: int, target: int, kernel: Kernel) -> np.ndarray:
    """The kernel, widened by s = n / m where s > 1, sampled and each row divided by its sum."""
    centre = (np.arange(target) + 0.5)[:, None] * source / target
    weights = kernel((np.arange(source)[None, :] + 0.5 - centre) / max(source / target, 1.0))
    return weights / weights.sum(axis=1, keepdims=True)


def interpolating_matrix(source: int, target: int, kernel: Kernel) -> np.ndarray:
    """The kernel as wide as it is, also going down; taps beyond the border fall on the border pixel."""
    reach = 3
    taps = np.arange(-reach, source + reach)
    centre = (np.arange(target) + 0.5)[:, None] * source / target
    weights = kernel(taps[None, :] + 0.5 - centre)
    landing = np.maximum(np.minimum(taps, source - 1), 0)[:, None] == np.arange(source)[None, :]
    return (weights / weights.sum(axis=1, keepdims=True)) @ landing.astype(np.float64)
