"""Orthonormal block sum: the block mean with noise gain 1."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .arrays import Array, cast, require_floating
from .block_mean import BlockMean
from .blocks import ScaledBlocks, block_means, spread
from .config import serialisable
from .shapes import Size


@serialisable
@dataclass(frozen=True, init=False, repr=False)
class OrthonormalSum(ScaledBlocks):
    """Sum every sy x sx block and divide by sqrt(sy sx): the LL band of the orthonormal Haar wavelet, for scale 2.

    forward   y[i, j] = 1/sqrt(sy sx) sum_{a < sy, b < sx} x[sy i + a, sx j + b]     (..., H, W) -> (..., H/sy, W/sx)
    adjoint   x[sy i + a, sx j + b] = y[i, j] / sqrt(sy sx)

    A A^T = I: gain 1, so white noise needs no other partner. A constant image becomes sqrt(sy sx) times brighter; where
    images are meant to keep their values, take `BlockMean`. float16 and bfloat16 are summed in float32 and rounded
    once. `scale` is s or (sy, sx). Raises ShapeError unless sy divides H and sx divides W, TypeError for a dtype that
    is not real floating.

    Source: the Haar scaling function; `BlockMean` in units of its gain.
    """

    scale: tuple[int, int]

    @property
    def gain(self) -> float:
        return 1.0

    @property
    def preserves_constants(self) -> bool:
        return self.scale == (1, 1)

    def axes(self, shape: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        rows, columns = BlockMean(self.scale).axes(shape)
        return rows * math.sqrt(self.scale[0]), columns * math.sqrt(self.scale[1])

    def _forward(self, x: Array) -> Array:
        require_floating(self, x)
        return cast(block_means(x, self.scale) * self._root, x.dtype)

    def _adjoint(self, y: Array, size: Size) -> Array:
        require_floating(self, y)
        return spread(y / self._root, self.scale)

    @property
    def _root(self) -> float:
        return math.sqrt(self.scale[0] * self.scale[1])
