"""Shift by any part of a pixel, on a torus."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .bases import fourier_basis
from .config import Config, number, serialisable, take
from .same_size import SameSize
from .separable import SeparableOperator
from .values import real, whole

if TYPE_CHECKING:
    from typing_extensions import Self

    from .base import LinearOperator
    from .noise.nyquist import FreshNyquist


@serialisable
@dataclass(frozen=True, init=False, repr=False)
class FourierShift(SameSize, SeparableOperator):
    """Move an image that repeats by dx pixels to the right and dy down, by any part of a pixel.

    forward   y[j] = sum_k X_k exp(2 pi i k (j - d) / n), X the Fourier coefficients, on each axis
              (..., H, W) -> (..., H, W)
    adjoint   the shift by (-dx, -dy)

    What leaves on one side comes in on the other. By whole pixels it is a circular roll. An axis of odd length, or one
    moved by whole pixels, is moved by an orthogonal matrix: gain 1 (`noise_gain`; `gain` is 1 only where it is so for
    every size). On an even length the frequency n/2 has no sine to turn into, so it comes out cos(pi d) times as large:
    by half a pixel it is gone. There the noise partner adds fresh noise of that one frequency, sqrt(1 - cos^2) of it,
    and leaves the rest as it is. Rings at edges that do not repeat. Raises ValueError unless dx and dy are finite,
    TypeError for a dtype that is not real floating.

    Source: the shift theorem; trigonometric interpolation.
    """

    dx: float
    dy: float

    def __init__(self, dx: float = 0.0, dy: float = 0.0):
        object.__setattr__(self, "dx", real("dx", dx))
        object.__setattr__(self, "dy", real("dy", dy))

    @property
    def gain(self) -> float | None:
        return 1.0 if self.dx.is_integer() and self.dy.is_integer() else None

    @property
    def preserves_constants(self) -> bool:
        return True

    def noise_gain(self, shape: Sequence[int]) -> float | None:
        self.out_shape(shape)
        return None if self._loses(0, shape[-2]) or self._loses(1, shape[-1]) else 1.0

    def noise_partner(self) -> LinearOperator | FreshNyquist:  # type: ignore[override]
        from .noise.nyquist import FreshNyquist

        return self if self.gain is not None else FreshNyquist(self)

    def on_cells(self, pixels: int) -> FourierShift:
        cells = whole("pixels", pixels, 1)
        return FourierShift(self.dx / cells, self.dy / cells)

    def _loses(self, axis: int, length: int) -> bool:
        """Whether an axis of `length` loses some of its frequency n/2."""
        return length % 2 == 0 and not (self.dy, self.dx)[axis].is_integer()

    def _axis(self, axis: int, length: int) -> np.ndarray:
        # A whole turn is taken off in advance: the rest of a long way keeps all its digits.
        d = (self.dy, self.dx)[axis] % length
        return fourier_basis(length, d).T @ fourier_basis(length)

    def _config(self) -> Config:
        return {"dx": self.dx, "dy": self.dy}

    @classmethod
    def _from_config(cls, config: Config, depth: int) -> Self:
        dx, dy = take(cls.__name__, config, "dx", "dy")
        return cls(number("dx", dx), number("dy", dy))

    def __repr__(self) -> str:
        return f"FourierShift({self.dx!r}, {self.dy!r})"
