"""Spectral crop: the ideal low-pass resize, down and up."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np

from .bases import carried, cosine_basis
from .config import serialisable
from .target import ResizeOperator

if TYPE_CHECKING:
    from typing_extensions import Self

    from .base import LinearOperator
    from .noise.complement import FreshComplement


@serialisable
@dataclass(frozen=True, init=False, repr=False)
class SpectralCrop(ResizeOperator):
    """Keep the lowest h x w DCT-II coefficients, with zeros for those that are not there: resize without aliasing.

    forward   y = sqrt(h w / (H W)) C_h^T crop(C_H x C_W^T) C_w        (..., H, W) -> (..., h, w)
    adjoint   x = sqrt(h w / (H W)) C_H^T crop^T(C_h y C_w^T) C_W      (C_n the orthonormal DCT-II of length n)

    The factor keeps constants. Where no axis goes up, A A^T = (h w / (H W)) I exactly. The target is said in one of two
    ways:

    - `SpectralCrop((h, w))`: that size from any size, each axis down or up. `gain` is None since it depends on the
      input; `noise_gain(shape)` tells it, None where an axis goes up. The noise partner keeps the given low frequencies
      and draws the high ones afresh that an axis going up adds. `adjoint` needs the input shape.
    - `SpectralCrop.by(scale)`: `scale` (an int or a Fraction of at least 1, or one each for height and width) times
      smaller. `gain` is 1/sqrt(sy sx) and `adjoint` infers the shape, as for the operators on blocks.

    Rings at edges, as every ideal low-pass does. Two small dense matrix products. Raises ShapeError for an input that
    `scale` does not divide into whole pixels, TypeError for a dtype that is not real floating.

    Source: DCT-domain resizing; gain and constants follow from the orthonormality of C_n.
    """

    _scale_goes_up = False
    _way_up = "to go up, give the target shape"

    @classmethod
    def by(cls, scale: int | Fraction | tuple) -> Self:
        """The crop to a size `scale` times smaller, for example by(2) or by(Fraction(4, 3))."""
        return cls(scale=scale)

    @property
    def gain(self) -> float | None:
        return None if self.scale is None else 1 / math.sqrt(self.scale[0] * self.scale[1])

    def noise_gain(self, shape: Sequence[int]) -> float | None:
        *_, height, width = self.out_shape(shape)
        return None if height > shape[-2] or width > shape[-1] else math.sqrt(height * width / (shape[-2] * shape[-1]))

    def noise_partner(self) -> LinearOperator | FreshComplement:  # type: ignore[override]
        from .noise.complement import FreshComplement

        return FreshComplement(self) if self.gain is None else super().noise_partner()  # type: ignore[return-value]

    def _axis(self, axis: int, length: int) -> np.ndarray:
        return math.sqrt(self._length(axis, length) / length) * self._isometry(axis, length)

    def _isometry(self, axis: int, length: int) -> np.ndarray:
        return carried(cosine_basis(length), cosine_basis(self._length(axis, length)))
