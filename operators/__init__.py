"""Linear maps on images and latents. Knows arrays only (numpy, torch, any array-API library).

    >>> import numpy as np
    >>> from commutant.operators import BlockMean, SpectralCrop, StridedSelection
    >>> half = BlockMean(2)
    >>> half(np.ones((1, 4, 128, 96))).shape
    (1, 4, 64, 48)
    >>> half.gain  # white noise comes out white, with half the standard deviation
    0.5

`StridedSelection` keeps one pixel per block, `BlockMean` averages blocks, `SpectralCrop` keeps the low frequencies at
any smaller size. `Roll`, `Flip`, `QuarterTurn` and `Permutation` rearrange pixels; `Translate`, `Warp`, `Affine` and
`Homography` move the scene. `a @ b` composes, `c * a` scales, `a.noise_partner()` carries unit white noise to unit
white noise, with fresh noise where `a` alone would colour it.
"""

from .adjoint import Adjoint
from .affine import Affine
from .base import LinearOperator
from .block_mean import BlockMean
from .composed import Composed
from .flip import Flip
from .homography import Homography
from .noise import ConditionalUpsampling, NoisePartner
from .permutation import Permutation
from .quarter_turn import QuarterTurn
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
    "Homography",
    "LinearOperator",
    "NoisePartner",
    "Permutation",
    "QuarterTurn",
    "Roll",
    "Scaled",
    "ShapeError",
    "SpectralCrop",
    "StridedSelection",
    "Translate",
    "Warp",
    "Whitened",
]
