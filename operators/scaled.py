"""Multiples of an operator: by a number, or by what brings its noise to unit variance."""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from scipy import sparse  # type: ignore[import-untyped]

from .arrays import Array
from .base import LinearOperator
from .config import Config, number, read, serialisable, take
from .shapes import Size

if TYPE_CHECKING:
    from typing_extensions import Self

    from .noise import NoisePartner


@dataclass(frozen=True, repr=False)
class _Around(LinearOperator):
    """An operator with the sizes of another."""

    operator: LinearOperator

    @property
    def keeps_size(self) -> bool:
        return self.operator.keeps_size

    def coverage(self, shape: Sequence[int]) -> np.ndarray:
        return self.operator.coverage(shape)

    def on_cells(self, pixels: int) -> LinearOperator:
        return dataclasses.replace(self, operator=self.operator.on_cells(pixels))

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

    factor: float
    _infix: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not math.isfinite(self.factor) or self.factor == 0:
            raise ValueError(f"the factor of a Scaled must be finite and not 0, not {self.factor}")

    @property
    def gain(self) -> float | None:
        return None if self.operator.gain is None else abs(self.factor) * self.operator.gain

    @property
    def preserves_constants(self) -> bool:
        return self.factor == 1 and self.operator.preserves_constants

    def noise_partner(self) -> "LinearOperator | NoisePartner":
        # A factor leaves white noise to its partner; its sign could go either way, and stays with isotropic ones.
        return super().noise_partner() if self.isotropic else self.operator.noise_partner()

    def noise_gain(self, shape: Sequence[int]) -> float | None:
        inner = self.operator.noise_gain(shape)
        return None if inner is None else abs(self.factor) * inner

    def matrix(self, shape: Sequence[int]) -> sparse.csr_array:
        return self.factor * self.operator.matrix(shape)

    def _forward(self, x: Array) -> Array:
        return self.operator(x) * self.factor

    def _adjoint(self, y: Array, size: Size) -> Array:
        return self.operator.adjoint(y, size) * self.factor

    def _config(self) -> Config:
        return {"factor": self.factor, "of": self.operator.to_dict()}

    @classmethod
    def _from_config(cls, config: Config, depth: int) -> "Self":
        factor, inner = take(cls.__name__, config, "factor", "of")
        return cls(read(inner, depth - 1), number("factor", factor))

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

    def __post_init__(self) -> None:
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

    def _config(self) -> Config:
        return {"of": self.operator.to_dict()}

    @classmethod
    def _from_config(cls, config: Config, depth: int) -> "Self":
        (inner,) = take(cls.__name__, config, "of")
        return cls(read(inner, depth - 1))

    def __repr__(self) -> str:
        return f"Whitened({self.operator!r})"
