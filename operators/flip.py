"""Mirror images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .arrays import Array, array_namespace
from .config import Config, serialisable, take, text
from .rearrangement import Rearrangement
from .values import choice, whole

if TYPE_CHECKING:
    from typing_extensions import Self

AXES = {"horizontal": (-1,), "vertical": (-2,), "both": (-2, -1)}


@serialisable
@dataclass(frozen=True, init=False, repr=False)
class Flip(Rearrangement):
    """Mirror left and right ("horizontal"), top and bottom ("vertical"), or "both".

    forward   y[i, j] = x[i, W - 1 - j], x[H - 1 - i, j], or x[H - 1 - i, W - 1 - j]        (..., H, W) -> (..., H, W)
    adjoint   the same

    Gain 1, exact, any size and dtype; a view where the array library has one. The same on every grid (`on_cells`).
    Raises ValueError for another axis. Source: numpy.flip.
    """

    axis: str

    def __init__(self, axis: str = "horizontal"):
        object.__setattr__(self, "axis", choice("axis", axis, tuple(AXES)))

    @property
    def inverse(self) -> Flip:
        return self

    def on_cells(self, pixels: int) -> Flip:
        whole("pixels", pixels, 1)
        return self

    def _forward(self, x: Array) -> Array:
        return array_namespace(x).flip(x, axis=AXES[self.axis])

    def _config(self) -> Config:
        return {"axis": self.axis}

    @classmethod
    def _from_config(cls, config: Config, depth: int) -> Self:
        (axis,) = take(cls.__name__, config, "axis")
        return cls(text("axis", axis))

    def __repr__(self) -> str:
        return f"Flip({self.axis!r})"
