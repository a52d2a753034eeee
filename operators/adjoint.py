"""The adjoint as an operator of its own: from small to large."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse  # type: ignore[import-untyped]

from .arrays import Array
from .base import LinearOperator
from .config import Config, pair, read, serialisable, take
from .shapes import Size
from .values import whole_pair

if TYPE_CHECKING:
    from typing_extensions import Self

    from .noise.upsampling import ConditionalUpsampling


@serialisable
@dataclass(frozen=True, init=False, repr=False)
class Adjoint(LinearOperator):
    """A^T as an operator; written `A.transposed()`.

    forward   A^T y        (..., h, w) -> (..., H, W)
    adjoint   A x

    Where A maps several sizes to one, `shape` says which one (H, W) this adjoint leads to. `A^T A = g^2 I` only where
    A keeps the number of pixels, so that is where it has a gain. Its noise partner is `ConditionalUpsampling` where A
    is isotropic. Source: linear algebra.
    """

    operator: LinearOperator
    shape: Size | None

    def __init__(self, operator: LinearOperator, shape: Size | None = None):
        object.__setattr__(self, "operator", operator)
        object.__setattr__(self, "shape", None if shape is None else whole_pair("shape", shape, 1))

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

    def noise_partner(self) -> LinearOperator | ConditionalUpsampling:  # type: ignore[override]
        if self.gain is not None:
            return super().noise_partner()  # type: ignore[return-value]
        from .noise.upsampling import ConditionalUpsampling

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

    def _config(self) -> Config:
        return {"of": self.operator.to_dict(), "shape": None if self.shape is None else list(self.shape)}

    @classmethod
    def _from_config(cls, config: Config, depth: int) -> Self:
        inner, shape = take(cls.__name__, config, "of", "shape")
        return cls(read(inner, depth - 1), None if shape is None else pair("shape", shape, 1))

    def __repr__(self) -> str:
        return f"{self.operator._grouped_repr()}.transposed({'' if self.shape is None else self.shape})"
