"""Fields whose denoised prediction is known exactly: they make commutators and trajectories checkable."""

from .convolution import ConvolutionField
from .field import Field
from .gaussian import GaussianField
from .mixture import GaussianMixtureField
from .periodic import PeriodicGaussianField
from .pointwise import PointwiseField
from .stationary import StationaryGaussianField

__all__ = [
    "ConvolutionField",
    "Field",
    "GaussianField",
    "GaussianMixtureField",
    "PeriodicGaussianField",
    "PointwiseField",
    "StationaryGaussianField",
]
