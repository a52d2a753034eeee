"""Homographies: maps of the plane as a camera sees it, with perspective."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .config import Config, numbers, serialisable, take, text
from .matrices import inverse_of, matrix_of
from .sampled import SampledOperator
from .sampling import FILLS, MODES
from .shapes import Size, nearest_by_search
from .values import choice, whole

if TYPE_CHECKING:
    from typing_extensions import Self

HORIZON = 1e-6  # how near a pixel may come to the horizon: there, one pixel shows this part of the scene's centre


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

    entries: tuple[tuple[float, ...], ...]  # M, its last entry 1
    mode: str
    fill: str

    def __init__(self, matrix: Any, mode: str = "bilinear", fill: str = "edge"):
        rows = matrix_of("matrix", matrix, ((3, 3),))
        last = rows[2][2]
        if last == 0:
            raise ValueError("matrix sends the centre of the image to the horizon: its last entry must not be 0")
        entries = matrix_of("matrix divided by its last entry", [[v / last for v in row] for row in rows], ((3, 3),))
        object.__setattr__(self, "entries", entries)
        object.__setattr__(self, "mode", choice("mode", mode, MODES))
        object.__setattr__(self, "fill", choice("fill", fill, FILLS))
        back = inverse_of("matrix", entries)
        if back[2, 2] <= HORIZON:
            raise ValueError("matrix shows what is behind the camera at the centre of the image")
        object.__setattr__(self, "_back", tuple(map(tuple, back.tolist())))

    def on_cells(self, pixels: int) -> Homography:
        s = whole("pixels", pixels, 1)
        (a, b, tx), (c, d, ty), (e, f, one) = self.entries
        return Homography(((a, b, tx / s), (c, d, ty / s), (e * s, f * s, one)), self.mode, self.fill)

    def _fault(self, size: Size) -> str | None:
        if min(size) <= 0:
            return "height and width must be positive"
        (_, _, (e, f, g)) = self._back  # type: ignore[attr-defined]
        # w is affine in the position, so its least value over the image is at a corner.
        least = g - abs(e) * (size[1] - 1) / 2 - abs(f) * (size[0] - 1) / 2
        return None if least > HORIZON else "the horizon would cross the image: it must be smaller"

    def _nearest(self, size: Size) -> tuple[Size, ...]:
        return nearest_by_search(size, lambda near: self._fault(near) is None)

    def _positions(self, size: Size) -> tuple[np.ndarray, np.ndarray]:
        back = self._back  # type: ignore[attr-defined]
        middle_y, middle_x = (size[0] - 1) / 2, (size[1] - 1) / 2
        x = np.arange(size[1])[None, :] - middle_x
        y = np.arange(size[0])[:, None] - middle_y
        u, v, w = (a * x + b * y + c for a, b, c in back)
        return u / w + middle_x, v / w + middle_y

    def _config(self) -> Config:
        return {"matrix": [list(row) for row in self.entries], "mode": self.mode, "fill": self.fill}

    @classmethod
    def _from_config(cls, config: Config, depth: int) -> Self:
        matrix, mode, fill = take(cls.__name__, config, "matrix", "mode", "fill")
        return cls(numbers("matrix", matrix, 3, 3), text("mode", mode), text("fill", fill))

    def __repr__(self) -> str:
        return f"Homography({self.entries}, mode={self.mode!r}, fill={self.fill!r})"
