"""What the crops share that keep the low frequencies of an orthonormal basis: their gains, partners and matrices."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np

from .bases import carried
from .target import ResizeOperator

if TYPE_CHECKING:
    from typing_extensions import Self

    from .base import LinearOperator
    from .noise.complement import FreshComplement


class BasisCrop(ResizeOperator):
    """Coefficients of one length carried over to another, on each axis, with the factor that keeps constants.

    forward   y = sqrt(h w / (H W)) B_h^T crop(B_H x B_W^T) B_w        (..., H, W) -> (..., h, w)

    A new one defines `_basis`. Where no axis goes up, A A^T = (h w / (H W)) I exactly.
    """

    @staticmethod
    @abstractmethod
    def _basis(length: int) -> np.ndarray:
        """B_n, one row per basis function, low frequencies first: orthonormal, (length, length)."""

    @classmethod
    def by(cls, scale: int | Fraction | tuple) -> Self:
        """The crop to a size `scale` times smaller, for example by(2) or by(Fraction(4, 3))."""
        return cls(scale=scale)

    @property
    def gain(self) -> float | None:
        return None if self.scale is None else 1 / math.sqrt(self.scale[0] * self.scale[1])

    def noise_gain(self, shape: Sequence[int]) -> float | None:
        *_, height, width = self.out_shape(shape)
        return None if height > shape[-2] or width > shape[-1] else math.sqrt(height * width / (shape[-2] * shape[-1]))

    def noise_partner(self) -> LinearOperator | FreshComplement:  # type: ignore[override]
        from .noise.complement import FreshComplement

        return FreshComplement(self) if self.gain is None else super().noise_partner()  # type: ignore[return-value]

    def _axis(self, axis: int, length: int) -> np.ndarray:
        return math.sqrt(self._length(axis, length) / length) * self._isometry(axis, length)

    def _isometry(self, axis: int, length: int) -> np.ndarray:
        return carried(self._basis(length), self._basis(self._length(axis, length)))
