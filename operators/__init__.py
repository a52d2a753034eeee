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
kernels. `Translate` and `FourierShift` move the image, `Kronecker` is any two matrices. `a @ b` composes, `c * a`
scales, `a.noise_partner()` carries unit white noise to unit white noise.
`StridedSelection` keeps one pixel per block, `BlockMean` averages blocks, `SpectralCrop` keeps the low frequencies at
any smaller size. `Roll`, `Flip`, `QuarterTurn` and `Permutation` rearrange pixels; `Translate`, `Warp`, `Affine` and
`Homography` move the scene. `a @ b` composes, `c * a` scales, `a.noise_partner()` carries unit white noise to unit
white noise, with fresh noise where `a` alone would colour it.
"""

from .adjoint import Adjoint
from .affine import Affine
from .base import LinearOperator
from .block_mean import BlockMean
from .block_sum import OrthonormalSum
from .composed import Composed
from .flip import Flip
from .fourier_crop import FourierCrop
from .fourier_shift import FourierShift
from .homography import Homography
from .kronecker import Kronecker
from .noise import ConditionalUpsampling, NoisePartner
from .permutation import Permutation
from .quarter_turn import QuarterTurn
from .resize import Resize
from .roll import Roll
from .scaled import Scaled, Whitened
from .shapes import ShapeError
from .spectral import SpectralCrop
from .strided import StridedSelection
from .translate import Translate
from .warp import Warp

__all__ = [
    "Adjoint",
    "Affine",
    "BlockMean",
    "Composed",
    "ConditionalUpsampling",
    "Flip",
    "FourierCrop",
    "FourierShift",
    "Homography",
    "Kronecker",
    "LinearOperator",
    "NoisePartner",
    "OrthonormalSum",
    "Permutation",
    "QuarterTurn",
    "Resize",
    "Roll",
    "Scaled",
    "ShapeError",
    "SpectralCrop",
    "StridedSelection",
    "Translate",
    "Warp",
    "Whitened",
]
