"""What operators share that only move pixels around: nothing is lost, made up or blended."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import numpy as np
from scipy import sparse  # type: ignore[import-untyped]

from .arrays import Array
from .same_size import SameSize
from .shapes import Size


class Rearrangement(SameSize):
    """A permutation matrix: y[k] = x[p(k)], so that A^T = A^-1, exactly and in any dtype.

    Gain 1: white noise stays white, and the noise partner is the operator itself. A new one defines `inverse` and
    `_forward` besides the sizes. Raises ShapeError for images without pixels.
    """

    @property
    @abstractmethod
    def inverse(self) -> Rearrangement:
        """The rearrangement that undoes this one, bit for bit; also its transpose."""

    @property
    def gain(self) -> float:
        return 1.0

    @property
    def preserves_constants(self) -> bool:
        return True

    def transposed(self, shape: Size | None = None) -> Rearrangement:
        return self.inverse

    def matrix(self, shape: Sequence[int]) -> sparse.csr_array:
        height, width = self.inverse.out_shape(self.out_shape(shape))[-2:]
        taken = self._forward(np.arange(height * width).reshape(height, width)).ravel()
        return sparse.csr_array((np.ones(len(taken)), taken, np.arange(len(taken) + 1)), shape=(len(taken),) * 2)

    def _adjoint(self, y: Array, size: Size) -> Array:
        return self.inverse._forward(y)
