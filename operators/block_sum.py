"""Orthonormal block sum: the block mean with noise gain 1."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .arrays import Array, cast, require_floating
from .block_mean import BlockMean
from .blocks import BlockOperator, block_means, spread
from .config import Config, pair, serialisable, take
from .shapes import Size
from .values import whole_pair

if TYPE_CHECKING:
    from typing_extensions import Self


@serialisable
@dataclass(frozen=True, init=False, repr=False)
class OrthonormalSum(BlockOperator):
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

    def __init__(self, scale: int | tuple[int, int]):
        object.__setattr__(self, "scale", whole_pair("scale", scale, 1))

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

    def _config(self) -> Config:
        return {"scale": list(self.scale)}

    @classmethod
    def _from_config(cls, config: Config, depth: int) -> "Self":
        (scale,) = take(cls.__name__, config, "scale")
        return cls(pair("scale", scale, 1))

    def __repr__(self) -> str:
        sy, sx = self.scale
        return f"OrthonormalSum({sy if sy == sx else self.scale})"
