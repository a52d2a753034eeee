"""Conditional upsampling: large white noise that has a given small one inside."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..adjoint import Adjoint
from ..arrays import Array, array_namespace
from ..shapes import Size
from .partner import NoisePartner


@dataclass(frozen=True, repr=False)
class ConditionalUpsampling(NoisePartner):
    """White noise w of the large size with `A w / g = z`, for an isotropic operator A to the small size.

    forward   w = A^T z / g + (Z - A^T A Z / g^2)        (..., h, w) -> (..., H, W), Z fresh white noise

    `A^T A / g^2` is the projection on what A sees, so w is white and keeps exactly z there. For a block mean this is
    the split of a noise value among its n children, `w_k = z / sqrt(n) + Z_k - mean(Z)`; for a spectral crop, fresh
    high frequencies. It is the noise partner of `A.transposed()` and of its multiples.
    Source: conditional Gaussians; for blocks, the children of a cell in Chang et al. 2024 (infinite-resolution noise).
    """

    operator: Adjoint

    def _fresh_count(self, size: Size) -> int:
        return math.prod(self.operator.out_shape(size))

    def _combined(self, noise: Array, fresh: Array) -> Array:
        down = self.operator.operator
        whole = array_namespace(fresh).reshape(fresh, self.operator.out_shape(noise.shape))
        gain = down.noise_gain(whole.shape)
        assert gain is not None, "an adjoint has this partner only where its operator is isotropic"
        return whole + down.adjoint(noise / gain - down(whole) / gain**2, whole.shape)
