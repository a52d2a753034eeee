"""Fourier crop: the ideal low-pass resize on a torus."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np

from .bases import carried, fourier_basis
from .config import serialisable
from .target import ResizeOperator

if TYPE_CHECKING:
    from typing_extensions import Self

    from .base import LinearOperator
    from .noise.complement import FreshComplement


@serialisable
@dataclass(frozen=True, init=False, repr=False)
class FourierCrop(ResizeOperator):
    """Keep the lowest h x w frequencies of an image that repeats: resize to any smaller size without aliasing.

    forward   y = sqrt(h w / (H W)) F_h^T (F_H x F_W^T)[:h, :w] F_w        (..., H, W) -> (..., h, w)
    adjoint   x = sqrt(h w / (H W)) F_H[:h]^T (F_h y F_w^T) F_W[:w]        (F_n: `bases.fourier_basis`)

    F_n is the orthonormal real Fourier basis at pixel centres, so target pixel j lies at source coordinate
    (j + 1/2) W/w - 1/2 and A A^T = (h w / (H W)) I exactly, for even and odd sizes. At an even target smaller than the
    source, one component of frequency w/2 is kept of two: sin(pi w/W (i + 1/2)), the one the target pixels can show;
    its amplitude comes out 1/sqrt(2) times as large as they would sample it, which is what keeps the rows orthogonal.

    `FourierCrop((h, w))` takes any size at least as large; its gain depends on the input (`noise_gain`, `gain` None)
    and `adjoint` needs the input shape. `FourierCrop.by(scale)` makes any size `scale` times smaller (an int or a
    Fraction, or one each), with gain 1/sqrt(sy sx). Left and right borders touch, and so do top and bottom: an image
    that does not repeat rings there, and `SpectralCrop` suits it better. Raises ShapeError for an input smaller than
    (h, w) or one that `scale` does not divide into whole pixels, TypeError for a dtype that is not real floating.

    Source: trigonometric interpolation; gain and constants follow from the orthonormality of F_n.
    """

    _shape_goes_up = _scale_goes_up = False
    _way_up = "to go up, take SpectralCrop or the transposed of a FourierCrop"

    @classmethod
    def by(cls, scale: int | Fraction | tuple) -> Self:
        """The crop to a size `scale` times smaller, for example by(2) or by(Fraction(4, 3))."""
        return cls(scale=scale)

    @property
    def gain(self) -> float | None:
        return None if self.scale is None else 1 / math.sqrt(self.scale[0] * self.scale[1])

    def noise_gain(self, shape: Sequence[int]) -> float:
        *_, height, width = self.out_shape(shape)
        return math.sqrt(height * width / (shape[-2] * shape[-1]))

    def noise_partner(self) -> LinearOperator | FreshComplement:  # type: ignore[override]
        from .noise.complement import FreshComplement

        return FreshComplement(self) if self.gain is None else super().noise_partner()  # type: ignore[return-value]

    def _axis(self, axis: int, length: int) -> np.ndarray:
        return math.sqrt(self._length(axis, length) / length) * self._isometry(axis, length)

    def _isometry(self, axis: int, length: int) -> np.ndarray:
        return carried(fourier_basis(length), fourier_basis(self._length(axis, length)))
