"""Block mean: area reduction by a whole factor."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .arrays import Array, cast, require_floating
from .blocks import ScaledBlocks, block_means, spread
from .config import serialisable
from .shapes import Size


@serialisable
@dataclass(frozen=True, init=False, repr=False)
class BlockMean(ScaledBlocks):
    """Average every sy x sx block.

    forward   y[i, j] = 1/(sy sx) sum_{a < sy, b < sx} x[sy i + a, sx j + b]      (..., H, W) -> (..., H/sy, W/sx)
    adjoint   x[sy i + a, sx j + b] = y[i, j] / (sy sx)

    Rows have disjoint support, hence A A^T = I / (sy sx): gain 1/sqrt(sy sx). float16 and bfloat16 are summed in
    float32 and rounded once, to half a unit in the last place. `scale` is s or (sy, sx). Raises ShapeError unless
    sy divides H and sx divides W, TypeError for a dtype that is not real floating.

    Source: area averaging; for noise, Hoogeboom et al. 2023 (simple diffusion).
    """

    scale: tuple[int, int]

    @property
    def gain(self) -> float:
        return 1 / math.sqrt(self.scale[0] * self.scale[1])

    def axes(self, shape: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        height, width = self.out_shape(shape)[-2:]
        sy, sx = self.scale
        return np.kron(np.eye(height), np.full((1, sy), 1 / sy)), np.kron(np.eye(width), np.full((1, sx), 1 / sx))

    def _forward(self, x: Array) -> Array:
        require_floating(self, x)
        return cast(block_means(x, self.scale), x.dtype)

    def _adjoint(self, y: Array, size: Size) -> Array:
        require_floating(self, y)
        return spread(y / (self.scale[0] * self.scale[1]), self.scale)
