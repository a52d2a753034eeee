"""Noise of a map between orthonormal bases: what the map sees is carried over, the rest is fresh."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..arrays import Array, array_namespace
from ..separable import SeparableOperator
from ..shapes import Shape, Size
from .partner import NoisePartner


@dataclass(frozen=True, repr=False)
class FreshComplement(NoisePartner):
    """White noise that agrees with a separable operator A where A says something, and is fresh elsewhere.

    forward   M n + Z - M M^T Z        (..., H, W) -> (..., h, w), Z fresh white noise

    M is the orthogonal polar factor of A, axis by axis: the map with `M M^T` a projection that is closest to A (A / g
    where A is isotropic). Then M M^T + (I - M M^T)(I - M M^T)^T = I. Where M M^T = I there is nothing fresh to draw.
    For a spectral crop that goes up: the given low frequencies and fresh high ones. Source: conditional Gaussians; the
    polar factor as nearest isometry is the orthogonal Procrustes problem (Schoenemann 1966).
    """

    operator: SeparableOperator

    def _fresh_count(self, size: Size) -> int:
        ranks = (float(np.square(axis).sum()) for axis in PolarFactor(self.operator).axes(size))
        height, width = self.operator._out_size(size)
        return 0 if all(math.isclose(r, n, abs_tol=0.5) for r, n in zip(ranks, (height, width))) else height * width

    def _combined(self, noise: Array, fresh: Array) -> Array:
        polar = PolarFactor(self.operator)
        carried = polar(noise)
        if fresh.shape[-1] == 0:
            return carried
        fresh = array_namespace(fresh).reshape(fresh, carried.shape)
        return carried + (fresh - polar(polar.adjoint(fresh, noise.shape)))


@dataclass(frozen=True)
class PolarFactor(SeparableOperator):
    """The orthogonal polar factor of a separable operator, axis by axis: U V^T of U S V^T."""

    operator: SeparableOperator

    def _axis(self, axis: int, length: int) -> np.ndarray:
        return self.operator._isometry(axis, length)

    def out_shape(self, shape: Sequence[int]) -> Shape:
        return self.operator.out_shape(shape)

    def _fault(self, size: Size) -> str | None:
        return self.operator._fault(size)

    def _out_size(self, size: Size) -> Size:
        return self.operator._out_size(size)
