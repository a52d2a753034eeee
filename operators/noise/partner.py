"""The contract of noise partners that need fresh noise."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..arrays import Array
from ..shapes import Shape, ShapeError
from .draws import Seed, standard_normal

if TYPE_CHECKING:
    from ..base import LinearOperator


class NoisePartner(ABC):
    """Carries unit white noise to unit white noise along `operator`, which alone would colour it.

    forward  `partner(noise, seed)` = M noise + F fresh        (..., H, W) -> (..., h, w)

    with fresh white noise drawn from `seed`, and `M M^T + F F^T = I` exactly: whatever the operator, the result is
    white. A new one defines `_fresh_count` and `_combined`; shapes are the operator's own. Isotropic operators need
    none of this: their partner is `A / g`, a linear operator.
    """

    operator: LinearOperator

    def __call__(self, noise: Array, seed: Seed | None = None) -> Array:
        """The noise that goes with `operator(x)`, for noise of shape (..., H, W): dtype, device and library kept.

        `seed` is a whole number or several, or a numpy Generator, which is advanced. The fresh noise is drawn on the
        host, so a seed gives the same result on every device and in every library, to rounding. Raises ShapeError
        where the operator does, TypeError where fresh noise is needed and no seed is given.
        """
        shape = self.fresh_shape(noise.shape)
        if seed is None and shape[-1] > 0:
            raise TypeError(f"{self!r} needs fresh noise: give a seed, or a numpy Generator")
        return self.combined(noise, standard_normal(shape, 0 if seed is None else seed, like=noise))

    def fresh_shape(self, shape: Sequence[int]) -> Shape:
        """Shape (..., n) of the fresh noise that `combined` takes for noise of `shape`; n may be 0."""
        self.operator.out_shape(shape)
        return (*shape[:-2], self._fresh_count((shape[-2], shape[-1])))

    def combined(self, noise: Array, fresh: Array) -> Array:
        """`M noise + F fresh`: the same without randomness, linear in both. Raises ShapeError for other shapes."""
        expected = self.fresh_shape(noise.shape)
        if tuple(fresh.shape) != expected:
            raise ShapeError(repr(self), fresh.shape, f"fresh noise of shape {expected} goes with {noise.shape}")
        return self._combined(noise, fresh)

    def out_shape(self, shape: Sequence[int]) -> Shape:
        """Shape of the result for noise of `shape`."""
        return self.operator.out_shape(shape)

    @abstractmethod
    def _fresh_count(self, size: tuple[int, int]) -> int:
        """How many fresh normals an image of `size` (valid for the operator) takes."""

    @abstractmethod
    def _combined(self, noise: Array, fresh: Array) -> Array:
        """The combination, shapes checked."""

    def __repr__(self) -> str:
        return f"{self.operator._grouped_repr()}.noise_partner()"
