"""Noise partners of compositions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ..arrays import Array
from ..base import LinearOperator
from ..shapes import Size
from .partner import NoisePartner


@dataclass(frozen=True, repr=False)
class PartnersInTurn(NoisePartner):
    """The partners of a composition's factors, one after the other: white noise stays white at every stage."""

    operator: LinearOperator
    partners: tuple[LinearOperator | NoisePartner, ...]  # in order of application

    def _fresh_count(self, size: Size) -> int:
        return sum(count for _, count in self._stages(size))

    def _stages(self, size: Size) -> Iterator[tuple[LinearOperator | NoisePartner, int]]:
        """Each partner with the fresh noise it takes."""
        for partner in self.partners:
            yield partner, partner._fresh_count(size) if isinstance(partner, NoisePartner) else 0
            height, width = partner.out_shape(size)
            size = height, width

    def _combined(self, noise: Array, fresh: Array) -> Array:
        at = 0
        for partner, count in self._stages((noise.shape[-2], noise.shape[-1])):
            if isinstance(partner, NoisePartner):
                noise = partner.combined(noise, fresh[..., at : at + count])
                at += count
            else:
                noise = partner(noise)
        return noise
