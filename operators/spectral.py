"""Spectral crop: the ideal low-pass resize, down and up."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .bases import cosine_basis
from .basis_crop import BasisCrop
from .config import serialisable


@serialisable
@dataclass(frozen=True, init=False, repr=False)
class SpectralCrop(BasisCrop):
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

    @staticmethod
    def _basis(length: int) -> np.ndarray:
        return cosine_basis(length)
