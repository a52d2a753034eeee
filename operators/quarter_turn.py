"""Rotation by whole quarter turns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .arrays import Array, array_namespace
from .config import Config, integer, serialisable, take
from .rearrangement import Rearrangement
from .shapes import Size
from .values import whole

if TYPE_CHECKING:
    from typing_extensions import Self


@serialisable
@dataclass(frozen=True, init=False, repr=False)
class QuarterTurn(Rearrangement):
    """Rotate by `turns` times 90 degrees, counter-clockwise as seen on a screen.

    forward   one turn: y[i, j] = x[j, W - 1 - i]        (..., H, W) -> (..., W, H), or (..., H, W) for even turns
    adjoint   the turn back

    `turns` is any integer, kept modulo 4. Gain 1, exact, any size and dtype; a view where the array library has one.
    The same on every grid (`on_cells`). Source: numpy.rot90.
    """

    turns: int

    def __init__(self, turns: int = 1):
        object.__setattr__(self, "turns", whole("turns", turns) % 4)

    @property
    def inverse(self) -> QuarterTurn:
        return QuarterTurn(-self.turns)

    def on_cells(self, pixels: int) -> QuarterTurn:
        whole("pixels", pixels, 1)
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

    def _config(self) -> Config:
        return {"turns": self.turns}

    @classmethod
    def _from_config(cls, config: Config, depth: int) -> Self:
        (turns,) = take(cls.__name__, config, "turns")
        return cls(integer("turns", turns, 0))

    def __repr__(self) -> str:
        return f"QuarterTurn({self.turns})"
