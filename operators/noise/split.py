"""Noise of a warp: every source cell is split among the target pixels that look at it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from ..arrays import Array, array_namespace
from ..sampled import SampledOperator
from ..shapes import Size
from .partner import NoisePartner
from .requests import SplitTable


@dataclass(frozen=True, repr=False)
class ConservativeSplit(NoisePartner):
    """The noise partner of a warp.

    forward   y_i = sum_j inc_ij / sqrt(sum_j a_ij)        (..., H, W) -> (..., H, W)
              inc_ij = a_ij X_j + e_ij - a_ij sum_k e_kj,  e_ij = sqrt(a_ij) z_ij, z fresh white noise

    Target pixel i requests source cell j with its sampling weight b_ij (bilinear, or 1 for nearest), and gets the
    fraction a_ij = b_ij / sum_k b_kj of it. White exactly, and it moves with the scene: where the flow is by whole
    pixels, noise is copied; where pixels are copied, it is split. Pixels that see nothing of the source take fresh
    noise, whatever fill the signal has. See `SplitTable`.
    Source: Brownian bridges, as in infinite-resolution noise (Chang et al. 2024), in closed form.
    """

    operator: SampledOperator

    def _fresh_count(self, size: Size) -> int:
        return _table(self.operator, size).fresh

    def _combined(self, noise: Array, fresh: Array) -> Array:
        xp = array_namespace(noise)
        table = _table(self.operator, (noise.shape[-2], noise.shape[-1]))
        flat = xp.reshape(noise, (*noise.shape[:-2], table.sources))
        return xp.reshape(table(flat, fresh), tuple(noise.shape))


@lru_cache(maxsize=4)  # a few: tables of large images are large
def _table(operator: SampledOperator, size: Size) -> SplitTable:
    seen = operator.seen(size)
    cells = size[0] * size[1]
    target = np.broadcast_to(np.arange(cells), (len(seen.index), cells)).ravel()
    return SplitTable.from_requests(target, seen.index.ravel(), seen.weight.ravel(), cells, cells)
