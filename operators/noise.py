"""White noise carried along with a signal: what a model needs where an operator alone would colour the noise.

The contract, the two partners of every operator that has no need of more (`LinearPartner`, `PartnersInTurn`), and the
fresh noise itself. The partners of one family stand beside its operators.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from .arrays import Array, array_namespace, device_of
from .shapes import Shape, ShapeError, Size

if TYPE_CHECKING:
    from .base import LinearOperator

Seed: TypeAlias = int | Sequence[int] | np.random.Generator


class NoisePartner(ABC):
    """Carries unit white noise to unit white noise along `operator`, which alone may colour it.

    forward  `partner(noise, seed)` = M noise + F fresh        (..., H, W) -> (..., h, w)

    with fresh white noise drawn from `seed`, and `M M^T + F F^T = I` exactly: whatever the operator, the result is
    white. A new one defines `_fresh_count` and `_combined`; shapes are the operator's own. Isotropic operators need no
    fresh noise: see `LinearPartner`.
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
    def _fresh_count(self, size: Size) -> int:
        """How many fresh normals an image of `size` (valid for the operator) takes."""

    @abstractmethod
    def _combined(self, noise: Array, fresh: Array) -> Array:
        """The combination, shapes checked."""

    def __repr__(self) -> str:
        return f"{self.operator._grouped_repr()}.noise_partner()"


@dataclass(frozen=True, repr=False)
class LinearPartner(NoisePartner):
    """The noise partner of an isotropic operator: another linear operator, which draws nothing fresh.

    forward   `carrier(noise)`        (..., H, W) -> (..., h, w)

    `carrier` is A / g, or A itself where g = 1. A seed may be given and is not used.
    """

    operator: LinearOperator
    carrier: LinearOperator

    def _fresh_count(self, size: Size) -> int:
        return 0

    def _combined(self, noise: Array, fresh: Array) -> Array:
        return self.carrier(noise)


@dataclass(frozen=True, repr=False)
class PartnersInTurn(NoisePartner):
    """The partners of a composition's factors, one after the other: white noise stays white at every stage."""

    operator: LinearOperator
    partners: tuple[NoisePartner, ...]  # in order of application

    def _fresh_count(self, size: Size) -> int:
        return sum(count for _, count in self._stages(size))

    def _stages(self, size: Size) -> Iterator[tuple[NoisePartner, int]]:
        """Each partner with the fresh noise it takes."""
        for partner in self.partners:
            yield partner, partner._fresh_count(size)
            height, width = partner.out_shape(size)
            size = height, width

    def _combined(self, noise: Array, fresh: Array) -> Array:
        at = 0
        for partner, count in self._stages((noise.shape[-2], noise.shape[-1])):
            noise = partner.combined(noise, fresh[..., at : at + count])
            at += count
        return noise


def generator_of(seed: Seed) -> np.random.Generator:
    """A numpy generator for a seed; one that is given is used as it is, and advanced."""
    if isinstance(seed, np.random.Generator):
        return seed
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(seed)))


def standard_normal(shape: Sequence[int], seed: Seed, like: Array) -> Array:
    """N(0, 1) of `shape` in the dtype, on the device and in the library of `like`.

    Drawn in float32 whatever the dtype, so that a seed means the same noise in all of them.
    """
    values = generator_of(seed).standard_normal(tuple(shape), dtype=np.float32)
    xp = array_namespace(like)
    drawn = xp.asarray(values, device=device_of(like))
    return drawn if drawn.dtype == like.dtype else xp.astype(drawn, like.dtype)
