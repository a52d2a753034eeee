"""White noise carried along with a signal: what a model needs where an operator alone would colour the noise."""

from .density import DensityWarp
from .partner import NoisePartner
from .sequence import PartnersInTurn
from .upsampling import ConditionalUpsampling

__all__ = ["ConditionalUpsampling", "DensityWarp", "NoisePartner", "PartnersInTurn"]
