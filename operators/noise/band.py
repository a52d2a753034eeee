"""Noise of a translation: moved, and fresh where the move uncovers the image."""

from __future__ import annotations

from dataclasses import dataclass

from ..arrays import Array, array_namespace
from ..shapes import Size
from ..translate import Translate
from .partner import NoisePartner


@dataclass(frozen=True, repr=False)
class FreshBand(NoisePartner):
    """The noise partner of a translation.

    forward   noise moved by (dx, dy), beside it fresh noise        (..., H, W) -> (..., H, W)

    Every output pixel is an input pixel or a fresh one, no two the same: white exactly, whatever fill the signal has.
    """

    operator: Translate

    def _fresh_count(self, size: Size) -> int:
        (height, width), dy, dx = size, abs(self.operator.dy), abs(self.operator.dx)
        return dy * width + (height - dy) * dx

    def _combined(self, noise: Array, fresh: Array) -> Array:
        xp, (*lead, height, width) = array_namespace(noise), noise.shape
        dx, dy = self.operator.dx, self.operator.dy
        kept = height - abs(dy)
        across = xp.reshape(fresh[..., : abs(dy) * width], (*lead, abs(dy), width))
        along = xp.reshape(fresh[..., abs(dy) * width :], (*lead, kept, abs(dx)))
        view = noise[..., max(0, -dy) : height - max(0, dy), max(0, -dx) : width - max(0, dx)]
        moved = xp.concat([along, view] if dx > 0 else [view, along], axis=-1)
        return xp.concat([across, moved] if dy > 0 else [moved, across], axis=-2)
