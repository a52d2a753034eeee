"""Operators made of others: products, and multiples by a number or by what brings noise to unit variance."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
from scipy import sparse  # type: ignore[import-untyped]

from .arrays import Array
from .base import LinearOperator
from .fields import Operator, Operators, RealNumber, holds
from .noise import NoisePartner, PartnersInTurn
from .saved import serialisable
from .shapes import Size


@serialisable
@dataclass(frozen=True, init=False, repr=False)
class Composed(LinearOperator):
    """Operators one after the other, the last one first, as products of matrices are written.

    forward   (A_1 ... A_n) x = A_1(... A_n(x))
    adjoint   A_n^T(... A_1^T(y))

    The gain is the product of the gains where all are isotropic. A size is valid if every factor accepts what reaches
    it. Source: linear algebra; written `a @ b`.
    """

    factors: tuple[LinearOperator, ...] = field(metadata=holds(Operators()))
    _infix: ClassVar[bool] = True

    def __init__(self, *factors: LinearOperator):
        if len(factors) < 2 or not all(isinstance(f, LinearOperator) for f in factors):
            raise TypeError("Composed takes two or more operators")
        flat = (f.factors if isinstance(f, Composed) else (f,) for f in factors)
        self._take(factors=[f for group in flat for f in group])

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

    def noise_partner(self) -> NoisePartner:
        if self.isotropic:
            return super().noise_partner()
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

    def _grown(self, before: float, back: bool) -> float:
        for factor in self.factors if back else reversed(self.factors):
            before = factor._grown(before, back)
        return before

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

    def __repr__(self) -> str:
        return " @ ".join(f._grouped_repr() for f in self.factors)


@dataclass(frozen=True, repr=False)
class _Around(LinearOperator):
    """An operator with the sizes of another."""

    operator: LinearOperator = field(metadata=holds(Operator(), key="of"))

    @property
    def keeps_size(self) -> bool:
        return self.operator.keeps_size

    def coverage(self, shape: Sequence[int]) -> np.ndarray:
        return self.operator.coverage(shape)

    def on_cells(self, pixels: int) -> LinearOperator:
        return dataclasses.replace(self, operator=self.operator.on_cells(pixels))

    def _grown(self, before: float, back: bool) -> float:
        return self.operator._grown(before, back)

    def _fault(self, size: Size) -> str | None:
        return self.operator._fault(size)

    def _nearest(self, size: Size) -> tuple[Size, ...]:
        return self.operator._nearest(size)

    def _out_size(self, size: Size) -> Size:
        return self.operator._out_size(size)

    def _in_size(self, size: Size) -> Size | None:
        return self.operator._in_size(size)


@serialisable
@dataclass(frozen=True, repr=False)
class Scaled(_Around):
    """A number times an operator.

    forward   c A x
    adjoint   c A^T y

    The gain is |c| times that of A. Raises ValueError unless c is finite and not 0. Written `c * a`.
    """

    factor: float = field(metadata=holds(RealNumber()))
    _infix: ClassVar[bool] = True

    def _prepare(self) -> None:
        if self.factor == 0:
            raise ValueError(f"the factor of a Scaled must be finite and not 0, not {self.factor}")

    @property
    def gain(self) -> float | None:
        return None if self.operator.gain is None else abs(self.factor) * self.operator.gain

    @property
    def preserves_constants(self) -> bool:
        return self.factor == 1 and self.operator.preserves_constants

    def noise_partner(self) -> NoisePartner:
        # A factor leaves white noise to its partner; its sign could go either way, and stays with isotropic ones.
        return super().noise_partner() if self.isotropic else self.operator.noise_partner()

    def noise_gain(self, shape: Sequence[int]) -> float | None:
        inner = self.operator.noise_gain(shape)
        return None if inner is None else abs(self.factor) * inner

    def axes(self, shape: Sequence[int]) -> tuple[np.ndarray, np.ndarray] | None:
        axes = self.operator.axes(shape)
        return None if axes is None else (self.factor * axes[0], axes[1])

    def matrix(self, shape: Sequence[int]) -> sparse.csr_array:
        return self.factor * self.operator.matrix(shape)

    def _forward(self, x: Array) -> Array:
        return self.operator(x) * self.factor

    def _adjoint(self, y: Array, size: Size) -> Array:
        return self.operator.adjoint(y, size) * self.factor

    def __repr__(self) -> str:
        return f"{self.factor!r} * {self.operator._grouped_repr()}"


@serialisable
@dataclass(frozen=True, repr=False)
class Whitened(_Around):
    """The noise partner of an isotropic operator: unit white noise in, unit white noise out.

    forward   A x / g
    adjoint   A^T y / g

    Raises ValueError unless A is isotropic.
    """

    def _prepare(self) -> None:
        if not self.operator.isotropic:
            raise ValueError(f"{self.operator!r} is not isotropic: it colours white noise, and no factor mends that")

    @property
    def gain(self) -> float:
        return 1.0

    def matrix(self, shape: Sequence[int]) -> sparse.csr_array:
        return self.operator.matrix(shape) / self._divisor

    @property
    def _divisor(self) -> float:
        assert self.operator.gain is not None, "checked at construction"
        return self.operator.gain

    def _forward(self, x: Array) -> Array:
        return self.operator(x) / self._divisor

    def _adjoint(self, y: Array, size: Size) -> Array:
        return self.operator.adjoint(y, size) / self._divisor
