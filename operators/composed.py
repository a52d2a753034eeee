"""Composition: operators one after the other."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from scipy import sparse  # type: ignore[import-untyped]

from .arrays import Array
from .base import LinearOperator
from .config import Config, read, serialisable, take
from .shapes import Size

if TYPE_CHECKING:
    from typing_extensions import Self

    from .noise import NoisePartner


@serialisable
@dataclass(frozen=True, init=False, repr=False)
class Composed(LinearOperator):
    """Operators one after the other, the last one first, as products of matrices are written.

    forward   (A_1 ... A_n) x = A_1(... A_n(x))
    adjoint   A_n^T(... A_1^T(y))

    The gain is the product of the gains where all are isotropic. A size is valid if every factor accepts what reaches
    it. Source: linear algebra; written `a @ b`.
    """

    factors: tuple[LinearOperator, ...]
    _infix: ClassVar[bool] = True

    def __init__(self, *factors: LinearOperator):
        if len(factors) < 2 or not all(isinstance(f, LinearOperator) for f in factors):
            raise TypeError("Composed takes two or more operators")
        flat = (f.factors if isinstance(f, Composed) else (f,) for f in factors)
        object.__setattr__(self, "factors", tuple(f for group in flat for f in group))

    @property
    def gain(self) -> float | None:
        gains = [f.gain for f in self.factors]
        return None if None in gains else math.prod(g for g in gains if g is not None)

    @property
    def preserves_constants(self) -> bool:
        return all(f.preserves_constants for f in self.factors)

    def noise_gain(self, shape: Sequence[int]) -> float | None:
        _, size = self._split(shape)
        self.out_shape(shape)
        gains = [f.noise_gain(s) for f, s in self._stages(size)]
        return None if None in gains else math.prod(g for g in gains if g is not None)

    @property
    def keeps_size(self) -> bool:
        return all(f.keeps_size for f in self.factors)

    def noise_partner(self) -> "LinearOperator | NoisePartner":
        if self.isotropic:
            return super().noise_partner()
        from .noise import PartnersInTurn

        return PartnersInTurn(self, tuple(f.noise_partner() for f in reversed(self.factors)))

    def coverage(self, shape: Sequence[int]) -> np.ndarray:
        _, size = self._split(shape)
        self.out_shape(shape)
        seen = np.ones(size)
        for factor, at in self._stages(size):
            # How much of what a pixel is made of was seen before, by the factor's own weights.
            whole = factor(np.ones(at))
            carried = np.divide(factor(seen), whole, out=np.zeros_like(whole), where=np.abs(whole) > 1e-12)
            seen = np.minimum(np.clip(carried, 0.0, 1.0), factor.coverage(at))
        return seen

    def on_cells(self, pixels: int) -> LinearOperator:
        return Composed(*(f.on_cells(pixels) for f in self.factors))

    def matrix(self, shape: Sequence[int]) -> sparse.csr_array:
        _, size = self._split(shape)
        self.out_shape(shape)
        (first, _), *rest = self._stages(size)
        product = first.matrix(size)
        for factor, at in rest:
            product = factor.matrix(at) @ product
        return product

    def _stages(self, size: Size) -> list[tuple[LinearOperator, Size]]:
        """Each factor, in order of application, with the size that reaches it."""
        stages = []
        for factor in reversed(self.factors):
            stages.append((factor, size))
            size = factor._out_size(size)
        return stages

    def _fault(self, size: Size) -> str | None:
        at = size
        for factor in reversed(self.factors):
            fault = factor._fault(at)
            if fault is not None:
                return f"at {factor!r}, which is given {at}, {fault}"
            at = factor._out_size(at)
        return None

    def _out_size(self, size: Size) -> Size:
        for factor in reversed(self.factors):
            size = factor._out_size(size)
        return size

    def _in_size(self, size: Size) -> Size | None:
        inner: Size | None = size
        for factor in self.factors:
            inner = None if inner is None else factor._in_size(inner)
        return inner

    def _forward(self, x: Array) -> Array:
        for factor in reversed(self.factors):
            x = factor(x)
        return x

    def _adjoint(self, y: Array, size: Size) -> Array:
        for factor, at in reversed(self._stages(size)):
            y = factor.adjoint(y, at)
        return y

    def _config(self) -> Config:
        return {"factors": [f.to_dict() for f in self.factors]}

    @classmethod
    def _from_config(cls, config: Config, depth: int) -> "Self":
        (factors,) = take(cls.__name__, config, "factors")
        if not isinstance(factors, list | tuple) or not 2 <= len(factors) <= 16:
            raise ValueError("factors must be a list of 2 to 16 operators")
        return cls(*(read(f, depth - 1) for f in factors))

    def __repr__(self) -> str:
        return " @ ".join(f._grouped_repr() for f in self.factors)
