"""Resize with the usual kernels, to any size."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np

from .config import Config, serialisable, text
from .kernels import ANTIALIASED, INTERPOLATING, antialiased_matrix, area_matrix, interpolating_matrix
from .shapes import Size
from .target import ResizeOperator, read_target
from .values import choice, flag

if TYPE_CHECKING:
    from typing_extensions import Self

    from .base import LinearOperator
    from .noise.area import AreaSplit

KERNELS = ("area", "bilinear", "bicubic", "lanczos")


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

    kernel: str
    antialias: bool

    def __init__(
        self,
        shape: Size | None = None,
        kernel: str = "area",
        antialias: bool = True,
        *,
        scale: int | Fraction | tuple | None = None,
    ):
        super().__init__(shape, scale=scale)
        object.__setattr__(self, "kernel", choice("kernel", kernel, KERNELS))
        object.__setattr__(self, "antialias", flag("antialias", antialias))
        if kernel == "area" and not antialias:
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

    def noise_partner(self) -> LinearOperator | AreaSplit:  # type: ignore[override]
        from .noise.area import AreaSplit

        return AreaSplit(self) if self.gain is None else super().noise_partner()  # type: ignore[return-value]

    def _axis(self, axis: int, length: int) -> np.ndarray:
        target = self._length(axis, length)
        if self.kernel == "area":
            return area_matrix(length, target)
        if self.antialias:
            return antialiased_matrix(length, target, ANTIALIASED[self.kernel])
        return interpolating_matrix(length, target, INTERPOLATING[self.kernel])

    def _config(self) -> Config:
        return {**super()._config(), "kernel": self.kernel, "antialias": self.antialias}

    @classmethod
    def _from_config(cls, config: Config, depth: int) -> Self:
        target = {key: value for key, value in config.items() if key not in ("kernel", "antialias")}
        shape, scale = read_target(cls.__name__, target)
        for field in ("kernel", "antialias"):
            if field not in config:
                raise ValueError(f"{cls.__name__} config must hold the field {field}")
        antialias = config["antialias"]
        if type(antialias) is not bool:
            raise ValueError(f"antialias must be true or false, not {type(antialias).__name__}")
        return cls(shape, text("kernel", config["kernel"]), antialias, scale=scale)

    def __repr__(self) -> str:
        return f"{self._written()}, {self.kernel!r}{'' if self.antialias else ', antialias=False'})"
