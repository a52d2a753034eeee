"""Noise of a sub-pixel shift: moved, with the lost part of one frequency drawn afresh."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ..arrays import Array, accumulation_dtype, array_namespace, cast, device_of
from ..bases import fourier_basis
from ..fourier_shift import FourierShift
from ..shapes import Size
from .partner import NoisePartner


@dataclass(frozen=True, repr=False)
class FreshNyquist(NoisePartner):
    """The noise partner of a Fourier shift.

    forward   A n, plus sin(pi d) u on the frequency n/2 of every even axis that loses some of it, u fresh
              (..., H, W) -> (..., H, W)

    One axis at a time: an even axis turns I into I - sin^2(pi d) v v^T, v the unit vector of frequency n/2, and
    sin(pi d) v u^T adds what is missing. Exact.
    """

    operator: FourierShift

    def _fresh_count(self, size: Size) -> int:
        height, width = size
        return width * self.operator._loses(0, height) + height * self.operator._loses(1, width)

    def _combined(self, noise: Array, fresh: Array) -> Array:
        xp, (*lead, height, width) = array_namespace(noise), noise.shape
        dtype = accumulation_dtype(noise)
        moved, fresh, used = FourierShift(dy=self.operator.dy)(cast(noise, dtype)), cast(fresh, dtype), 0
        if self.operator._loses(0, height):
            used = width
            moved = moved + self._lost(0, height, noise)[:, None] * xp.reshape(fresh[..., :used], (*lead, 1, width))
        moved = FourierShift(dx=self.operator.dx)(moved)
        if self.operator._loses(1, width):
            moved = moved + self._lost(1, width, noise) * xp.reshape(fresh[..., used:], (*lead, height, 1))
        return cast(moved, noise.dtype)

    def _lost(self, axis: int, length: int, like: Array) -> Array:
        """sin(pi d) v beside `like`, in the dtype to sum in."""
        d = (self.operator.dy, self.operator.dx)[axis]
        values = math.sin(math.pi * (d % 2)) * np.array(fourier_basis(length)[-1])
        return array_namespace(like).asarray(values, dtype=accumulation_dtype(like), device=device_of(like))
