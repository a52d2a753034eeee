"""Affine maps of the scene: rotation, zoom, shear, and translation by parts of pixels."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .config import Config, numbers, serialisable, take, text
from .matrices import inverse_of, matrix_of
from .sampled import SampledOperator
from .sampling import FILLS, MODES
from .shapes import Size
from .values import choice, real, whole

if TYPE_CHECKING:
    from typing_extensions import Self


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

    entries: tuple[tuple[float, ...], ...]  # [M t]
    mode: str
    fill: str

    def __init__(self, matrix: Any, mode: str = "bilinear", fill: str = "edge"):
        rows = matrix_of("matrix", matrix, ((2, 3), (2, 2)))
        object.__setattr__(self, "entries", tuple((*row, 0.0)[:3] for row in rows))
        object.__setattr__(self, "mode", choice("mode", mode, MODES))
        object.__setattr__(self, "fill", choice("fill", fill, FILLS))
        linear = inverse_of("matrix", tuple(row[:2] for row in self.entries))
        object.__setattr__(self, "_back", tuple(map(tuple, linear.tolist())))

    @classmethod
    def rotation(cls, degrees: float, mode: str = "bilinear", fill: str = "edge") -> Self:
        """Rotation about the centre, counter-clockwise as seen on a screen; exact for multiples of 90 degrees."""
        turns, rest = divmod(real("degrees", degrees), 90.0)
        cos, sin = math.cos(math.radians(rest)), math.sin(math.radians(rest))
        for _ in range(int(turns % 4)):
            cos, sin = -sin, cos
        return cls(((cos, sin), (-sin, cos)), mode, fill)

    @classmethod
    def zoom(cls, factor: float, mode: str = "bilinear", fill: str = "edge") -> Self:
        """Zoom about the centre; a factor above 1 magnifies."""
        if real("factor", factor) <= 0:
            raise ValueError(f"factor must be more than 0, not {factor}")
        return cls(((float(factor), 0.0), (0.0, float(factor))), mode, fill)

    @classmethod
    def shift(cls, dx: float, dy: float = 0.0, mode: str = "bilinear", fill: str = "edge") -> Self:
        """Translation by dx pixels to the right and dy pixels down, whole or not."""
        return cls(((1.0, 0.0, real("dx", dx)), (0.0, 1.0, real("dy", dy))), mode, fill)

    def on_cells(self, pixels: int) -> Affine:
        cell = whole("pixels", pixels, 1)
        return Affine(tuple((a, b, t / cell) for a, b, t in self.entries), self.mode, self.fill)

    def _positions(self, size: Size) -> tuple[np.ndarray, np.ndarray]:
        (a, b), (c, d) = self._back  # type: ignore[attr-defined]
        (_, _, tx), (_, _, ty) = self.entries
        middle_y, middle_x = (size[0] - 1) / 2, (size[1] - 1) / 2
        x = np.arange(size[1])[None, :] - middle_x - tx
        y = np.arange(size[0])[:, None] - middle_y - ty
        return a * x + b * y + middle_x, c * x + d * y + middle_y

    def _config(self) -> Config:
        return {"matrix": [list(row) for row in self.entries], "mode": self.mode, "fill": self.fill}

    @classmethod
    def _from_config(cls, config: Config, depth: int) -> Self:
        matrix, mode, fill = take(cls.__name__, config, "matrix", "mode", "fill")
        return cls(numbers("matrix", matrix, 2, 3), text("mode", mode), text("fill", fill))

    def __repr__(self) -> str:
        return f"Affine({self.entries}, mode={self.mode!r}, fill={self.fill!r})"
