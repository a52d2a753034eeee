"""Spectral crop: the ideal low-pass resize to any smaller size."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse  # type: ignore[import-untyped]

from .arrays import (
    Array,
    accumulation_dtype,
    array_namespace,
    cast,
    compiling,
    device_of,
    full_precision,
    require_floating,
)
from .base import LinearOperator
from .config import Config, pair, ratio, serialisable, take
from .shapes import Size, divided, indivisible, multiplied, nearest_divisible
from .values import ratio_pair, whole_pair

if TYPE_CHECKING:
    from typing_extensions import Self


@serialisable
@dataclass(frozen=True, init=False, repr=False)
class SpectralCrop(LinearOperator):
    """Keep the lowest h x w DCT-II coefficients: resize to any smaller size without aliasing.

    forward   y = sqrt(h w / (H W)) C_h^T (C_H x C_W^T)[:h, :w] C_w        (..., H, W) -> (..., h, w)
    adjoint   x = sqrt(h w / (H W)) C_H[:h]^T (C_h y C_w^T) C_W[:w]        (C_n the orthonormal DCT-II of length n)

    The factor keeps constants; A A^T = (h w / (H W)) I exactly. The target is said in one of two ways:

    - `SpectralCrop((h, w))`: that size from any size at least as large. The gain depends on the input, so `gain` is
      None, `noise_gain(shape)` tells it, and `adjoint` needs the input shape.
    - `SpectralCrop.by(scale)`: `scale` (an int or a Fraction, or one each for height and width) times smaller.
      `gain` is 1/sqrt(sy sx) and `adjoint` infers the shape, as for the operators on blocks.

    Rings at edges, as every ideal low-pass does. Two small dense matrix products, in the dtype of x (float32 for
    float16 and bfloat16, rounded once), outside autocast; under torch.compile their factors are part of the graph.
    Where a program lets torch use TF32 for float32 products, expect its 1e-3. Raises ShapeError for an input smaller
    than (h, w) or one that `scale` does not divide into whole pixels, TypeError for a dtype that is not real floating.

    Source: DCT-domain resizing; gain and constants follow from the orthonormality of C_n.
    """

    shape: Size | None
    scale: tuple[Fraction, Fraction] | None

    def __init__(self, shape: Size | None = None, *, scale: int | Fraction | tuple | None = None):
        if (shape is None) == (scale is None):
            raise TypeError("SpectralCrop takes a target shape (height, width) or a scale, one of the two")
        object.__setattr__(self, "shape", None if shape is None else whole_pair("shape", shape, 1))
        object.__setattr__(self, "scale", None if scale is None else ratio_pair("scale", scale))

    @classmethod
    def by(cls, scale: int | Fraction | tuple) -> "Self":
        """The crop to a size `scale` times smaller, for example by(2) or by(Fraction(4, 3))."""
        return cls(scale=scale)

    @property
    def gain(self) -> float | None:
        return None if self.scale is None else 1 / math.sqrt(self.scale[0] * self.scale[1])

    @property
    def isotropic(self) -> bool:
        return True

    @property
    def preserves_constants(self) -> bool:
        return True

    def noise_gain(self, shape: Sequence[int]) -> float:
        *_, height, width = self.out_shape(shape)
        return math.sqrt(height * width / (shape[-2] * shape[-1]))

    def matrix(self, shape: Sequence[int]) -> sparse.csr_array:
        out = self.out_shape(shape)[-2:]
        return sparse.csr_array(np.kron(*(_cached_crop(n, m) for n, m in zip(shape[-2:], out))))

    def _fault(self, size: Size) -> str | None:
        if self.scale is not None:
            return indivisible(size, self.scale)
        assert self.shape is not None
        h, w = self.shape
        return None if size[0] >= h and size[1] >= w else f"height and width must be at least {h} and {w}"

    def _nearest(self, size: Size) -> tuple[Size, ...]:
        if self.scale is not None:
            return nearest_divisible(size, self.scale)
        assert self.shape is not None
        return ((max(size[0], self.shape[0]), max(size[1], self.shape[1])),)

    def _out_size(self, size: Size) -> Size:
        if self.scale is not None:
            return divided(size, self.scale)
        assert self.shape is not None
        return self.shape

    def _in_size(self, size: Size) -> Size | None:
        return None if self.scale is None else multiplied(size, self.scale)

    def _forward(self, x: Array) -> Array:
        size = x.shape[-2], x.shape[-1]
        rows, columns = self._factors(x, size)
        return _sandwich(rows, x, array_namespace(x).matrix_transpose(columns))

    def _adjoint(self, y: Array, size: Size) -> Array:
        rows, columns = self._factors(y, size)
        return _sandwich(array_namespace(y).matrix_transpose(rows), y, columns)

    def _factors(self, x: Array, size: Size) -> tuple[Array, Array]:
        """The dense (h x H) and (w x W) crops of both axes, beside `x`."""
        require_floating(self, x)
        xp, dtype = array_namespace(x), accumulation_dtype(x)
        crop = _crop if compiling(x) else _cached_crop
        matrices = (crop(n, m) for n, m in zip(size, self._out_size(size)))
        rows, columns = (xp.asarray(m, dtype=dtype, device=device_of(x)) for m in matrices)
        return rows, columns

    def _config(self) -> Config:
        if self.scale is None:
            assert self.shape is not None
            return {"shape": list(self.shape)}
        return {"scale": [[s.numerator, s.denominator] for s in self.scale]}

    @classmethod
    def _from_config(cls, config: Config, depth: int) -> "Self":
        if "shape" in config:
            (shape,) = take(cls.__name__, config, "shape")
            return cls(pair("shape", shape, 1))
        (scale,) = take(cls.__name__, config, "scale")
        if not isinstance(scale, list | tuple) or len(scale) != 2:
            raise ValueError("scale must be a list of two ratios")
        return cls(scale=(ratio("scale", scale[0]), ratio("scale", scale[1])))

    def __repr__(self) -> str:
        if self.scale is None:
            return f"SpectralCrop({self.shape})"
        sy, sx = (int(s) if s.denominator == 1 else s for s in self.scale)
        return f"SpectralCrop.by({sy if sy == sx else (sy, sx)!r})"


def _sandwich(left: Array, x: Array, right: Array) -> Array:
    xp = array_namespace(x)
    with full_precision(x):
        return cast(xp.matmul(left, xp.matmul(cast(x, left.dtype), right)), x.dtype)


def _crop(source: int, target: int) -> np.ndarray:
    """The one-dimensional crop, target x source, in float64. Plain numpy, so that torch.compile can trace it."""
    kept = _dct(source)[:target]
    return math.sqrt(target / source) * (_dct(target).T @ kept)


# Kept on the host: a cached device tensor born under torch.inference_mode could never be differentiated through.
_cached_crop = lru_cache(maxsize=64)(_crop)


def _dct(length: int) -> np.ndarray:
    """The orthonormal DCT-II: C[k, i] = sqrt(2/n) cos(pi k (2 i + 1) / (2 n)), row 0 divided by sqrt(2)."""
    k, i = np.arange(length)[:, None], np.arange(length)[None, :]
    turns = k * (2 * i + 1) % (4 * length)  # exact in integers: the cosine sees an angle below one turn
    basis = np.cos(turns * (np.pi / (2 * length))) * math.sqrt(2 / length)
    return np.where(k == 0, math.sqrt(1 / length), basis)
