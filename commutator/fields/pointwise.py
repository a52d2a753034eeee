"""Fields that look at one pixel at a time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Array = Any


@dataclass(frozen=True)
class PointwiseField:
    """An elementwise denoiser: `x0hat(x, t)[i] = function(x[i], t)` at every pixel i of (batch, ..., height, width).

    It commutes with everything that only moves or picks pixels, which is gain 1: selections, rolls, flips, turns. The
    commutator is zero bit for bit where `function` rounds a value the same way wherever it lies in memory, as
    arithmetic does; an array library's `tanh` or `exp` may take another code path for a view, an ulp away.
    Raises ValueError for a `function` that changes the shape.
    """

    function: Callable[[Array, float], Array]

    def denoised(self, x: Array, t: float) -> Array:
        out = self.function(x, t)
        if tuple(out.shape) != tuple(x.shape):
            raise ValueError(
                f"an elementwise function keeps the shape {tuple(x.shape)}; this one gave {tuple(out.shape)}"
            )
        return out
