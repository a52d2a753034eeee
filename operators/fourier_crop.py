"""Fourier crop: the ideal low-pass resize on a torus."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .bases import fourier_basis
from .basis_crop import BasisCrop
from .config import serialisable


@serialisable
@dataclass(frozen=True, init=False, repr=False)
class FourierCrop(BasisCrop):
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

    @staticmethod
    def _basis(length: int) -> np.ndarray:
        return fourier_basis(length)
