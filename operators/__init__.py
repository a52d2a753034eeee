"""Linear maps on images and latents. Knows arrays only (numpy, torch, any array-API library).

    >>> import numpy as np
    >>> from commutant.operators import BlockMean, SpectralCrop, StridedSelection
    >>> half = BlockMean(2)
    >>> half(np.ones((1, 4, 128, 96))).shape
    (1, 4, 64, 48)
    >>> half.gain  # white noise comes out white, with half the standard deviation
    0.5

`StridedSelection` keeps one pixel per block, `BlockMean` averages blocks, `OrthonormalSum` is that with noise gain 1.
`SpectralCrop` keeps the low frequencies at any other size, `FourierCrop` at any smaller one, `Resize` has the usual
kernels, `Kronecker` is any two matrices. `Roll`, `Flip`, `QuarterTurn` and `Permutation` rearrange pixels; `Translate`,
`FourierShift`, `Warp`, `Affine` and `Homography` move the scene. `Sum`, `Stack` and `BlockDiagonal`
put operators side by side. `a @ b` composes, `a + b` adds, `c * a` scales, `a.T` transposes, `a.pseudoinverse()` goes
back, and `a.noise_partner()` carries unit white noise to unit white noise, with fresh noise where `a` alone would
colour it.

`FittedResize` maps neighbourhoods of all channels to one pixel, as `fit_resize` finds it from latents: it acts on the
last three dims and is no `LinearOperator`.
"""

from .adjoint import Adjoint, ConditionalUpsampling
from .algebra import Composed, Scaled, Whitened
from .analysis import Diagonal, check_adjoint
from .base import LinearOperator
from .blocks import BlockMean, OrthonormalSum, StridedSelection
from .fitted import FittedResize
from .least_squares import FitReport, fit_resize
from .noise import LinearPartner, NoisePartner
from .rearrangement import Flip, Identity, Permutation, QuarterTurn, Roll
from .resize import Resize
from .separable import Kronecker
from .shapes import ShapeError
from .spectral import FourierCrop, FourierShift, SpectralCrop
from .stacked import BlockDiagonal, Stack, Sum
from .translate import Translate
from .warp import Affine, Homography, Warp

__all__ = [
    "Adjoint",
    "Affine",
    "BlockDiagonal",
    "BlockMean",
    "Composed",
    "ConditionalUpsampling",
    "Diagonal",
    "FitReport",
    "FittedResize",
    "Flip",
    "FourierCrop",
    "FourierShift",
    "Homography",
    "Identity",
    "Kronecker",
    "LinearOperator",
    "LinearPartner",
    "NoisePartner",
    "OrthonormalSum",
    "Permutation",
    "QuarterTurn",
    "Resize",
    "Roll",
    "Scaled",
    "ShapeError",
    "SpectralCrop",
    "Stack",
    "StridedSelection",
    "Sum",
    "Translate",
    "Warp",
    "Whitened",
    "check_adjoint",
    "fit_resize",
]
