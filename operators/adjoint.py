"""The adjoint as an operator of its own, from small to large, and the noise that goes up with it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy import sparse  # type: ignore[import-untyped]

from .arrays import Array, array_namespace
from .base import LinearOperator
from .fields import MAX_SIDE, Operator, Pair, holds
from .noise import NoisePartner
from .saved import grown_to, serialisable
from .shapes import Size


@serialisable
@dataclass(frozen=True, repr=False)
class Adjoint(LinearOperator):
    """A^T as an operator; written `A.transposed()`.

    forward   A^T y        (..., h, w) -> (..., H, W)
    adjoint   A x

    Where A maps several sizes to one, `shape` says which one (H, W) this adjoint leads to. `A^T A = g^2 I` only where
    A keeps the number of pixels, so that is where it has a gain. Its noise partner is `ConditionalUpsampling` where A
    is isotropic. Source: linear algebra.
    """

    operator: LinearOperator = field(metadata=holds(Operator(), key="of"))
    shape: Size | None = field(default=None, metadata=holds(Pair(1, MAX_SIDE), none="null"))

    @property
    def gain(self) -> float | None:
        return self.operator.gain if self.operator.keeps_size else None

    @property
    def keeps_size(self) -> bool:
        return self.operator.keeps_size

    def noise_gain(self, shape: Sequence[int]) -> float | None:
        size = self.out_shape(shape)[-2:]
        same = size[0] * size[1] == shape[-2] * shape[-1]  # a square A with A A^T = g^2 I has A^T A = g^2 I as well
        return self.operator.noise_gain(size) if same else None

    def noise_partner(self) -> NoisePartner:
        if self.gain is not None:
            return super().noise_partner()
        # With a given shape the gain may depend on it.
        gain = self.operator.gain if self.shape is None else self.operator.noise_gain(self.shape)
        if gain is None:
            raise ValueError(f"{self!r} has no noise partner: {self.operator!r} is not isotropic")
        return ConditionalUpsampling(self)

    def axes(self, shape: Sequence[int]) -> tuple[np.ndarray, np.ndarray] | None:
        axes = self.operator.axes(self.out_shape(shape)[-2:])
        return None if axes is None else (axes[0].T, axes[1].T)

    def matrix(self, shape: Sequence[int]) -> sparse.csr_array:
        return sparse.csr_array(self.operator.matrix(self.out_shape(shape)[-2:]).T)

    def transposed(self, shape: Size | None = None) -> LinearOperator:
        return self.operator

    def norm(self, shape: Sequence[int]) -> float:
        return self.operator.norm(self.out_shape(shape)[-2:])

    def condition_number(self, shape: Sequence[int]) -> float:
        return self.operator.condition_number(self.out_shape(shape)[-2:])

    def pseudoinverse(self, ridge: float = 0.0, shape: Size | None = None) -> LinearOperator:
        target = self.shape if shape is None else self._out_size(shape)
        return self.operator.pseudoinverse(ridge, target).transposed(shape)

    def _grown(self, before: float, back: bool) -> float:
        return grown_to(self.shape) if self.shape is not None and not back else self.operator._grown(before, not back)

    def _fault(self, size: Size) -> str | None:
        source = self._source(size)
        if source is None:
            return "its output size does not follow from this: give transposed(shape) the size to lead to"
        if self.operator._fault(source) is None and self.operator._out_size(source) == size:
            return None
        return f"it is no output size of {self.operator!r}"

    def _nearest(self, size: Size) -> tuple[Size, ...]:
        source = self._source(size)
        if source is None:
            return ()
        if self.operator._fault(source) is None:
            return (self.operator._out_size(source),)
        return tuple(dict.fromkeys(self.operator._out_size(near) for near in self.operator._nearest(source)))

    def _source(self, size: Size) -> Size | None:
        return self.operator._in_size(size) if self.shape is None else self.shape

    def _out_size(self, size: Size) -> Size:
        source = self._source(size)
        assert source is not None, "sizes are checked before"
        return source

    def _in_size(self, size: Size) -> Size | None:
        if self.operator._fault(size) is not None or self.shape not in (None, size):
            return None
        return self.operator._out_size(size)

    def _forward(self, x: Array) -> Array:
        return self.operator.adjoint(x, self._out_size((x.shape[-2], x.shape[-1])))

    def _adjoint(self, y: Array, size: Size) -> Array:
        return self.operator(y)

    def __repr__(self) -> str:
        return f"{self.operator._grouped_repr()}.transposed({'' if self.shape is None else self.shape})"


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
