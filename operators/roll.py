"""Circular translation by whole pixels: what leaves on one side comes in on the other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .arrays import Array, array_namespace
from .config import Config, serialisable, signed, take
from .rearrangement import Rearrangement
from .values import whole, whole_cells

if TYPE_CHECKING:
    from typing_extensions import Self


@serialisable
@dataclass(frozen=True, init=False, repr=False)
class Roll(Rearrangement):
    """Move the image by dx pixels to the right and dy pixels down, around the borders.

    forward   y[i, j] = x[(i - dy) mod H, (j - dx) mod W]        (..., H, W) -> (..., H, W)
    adjoint   the roll back

    Gain 1, exact, any size and dtype. Pixels are those of the array at hand; see `on_cells`, which raises ValueError
    unless the move is a whole number of cells. Source: numpy.roll.
    """

    dx: int
    dy: int

    def __init__(self, dx: int = 0, dy: int = 0):
        object.__setattr__(self, "dx", whole("dx", dx))
        object.__setattr__(self, "dy", whole("dy", dy))

    @property
    def inverse(self) -> Roll:
        return Roll(-self.dx, -self.dy)

    def on_cells(self, pixels: int) -> Roll:
        return Roll(*whole_cells(self, (self.dx, self.dy), pixels))

    def _forward(self, x: Array) -> Array:
        return array_namespace(x).roll(x, (self.dy, self.dx), axis=(-2, -1))

    def _config(self) -> Config:
        return {"dx": self.dx, "dy": self.dy}

    @classmethod
    def _from_config(cls, config: Config, depth: int) -> Self:
        dx, dy = take(cls.__name__, config, "dx", "dy")
        return cls(signed("dx", dx), signed("dy", dy))

    def __repr__(self) -> str:
        return f"Roll({self.dx}, {self.dy})"
