"""When a head may end: the layout of the denoised prediction has settled.

    change_i  =  ||x0hat_i - x0hat_{i-1}|| / ||x0hat_i||

between one evaluation and the next. One number a sample; a batch ends when all of its samples have settled. A norm over
all values, which any arrangement of them leaves alone: samplers may keep their latents packed.
"""

from __future__ import annotations

from typing import Any

from .condition import sample_norm
from .path import Path

Array = Any


class Settling:
    """Watches the denoised predictions of a head. `threshold` None never settles."""

    def __init__(self, threshold: float | None, path: Path) -> None:
        self.threshold, self.path = threshold, path
        self._last: Array | None = None

    def settled(self, output: Array, x: Array, t: float) -> bool:
        """Whether every sample moved by less than the threshold since the last call."""
        if self.threshold is None:
            return False
        seen = self.path.denoised(output, x, t)
        last, self._last = self._last, seen
        if last is None:
            return False
        changes, sizes = sample_norm(seen - last), sample_norm(seen)
        return all(float(c) < self.threshold * float(s) for c, s in zip(changes, sizes))
