"""Noise of a resize: every source cell is split among the target cells it overlaps."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from ..arrays import Array, accumulation_dtype, array_namespace, cast, full_precision
from ..banded import Banded
from ..separable import SeparableOperator
from ..shapes import Size
from .partner import NoisePartner


@dataclass(frozen=True, repr=False)
class AreaSplit(NoisePartner):
    """The conservative split of white noise by covered area, for any resize, down or up.

    forward   y_i = sum_j inc_ij / sqrt(sum_j a_ij)        one axis after the other, (..., H, W) -> (..., h, w)
              inc_ij = a_ij X_j + e_ij - a_ij sum_k e_kj,  e_ij = sqrt(a_ij) z_ij, z fresh white noise

    a_ij is the part of source cell j that target cell i covers, sum_i a_ij = 1. The increments have covariance
    diag(a) and add up to X_j: white exactly, and no noise is lost. A cell that one target covers whole needs nothing
    fresh, so going down by a whole factor is the block sum / sqrt(n); going up by one is the conditional upsampling of
    each value. Kernels that reach farther than their cell do not matter here: noise goes where the cell goes.

    Both parts are band matrices: products, several times faster than scattered sums, and the same on every run.
    Source: Brownian bridges, as in infinite-resolution noise (Chang et al. 2024), in closed form.
    """

    operator: SeparableOperator

    def _fresh_count(self, size: Size) -> int:
        (height, width), (h, w) = size, self.operator._out_size(size)
        return split(height, h).fresh * width + h * split(width, w).fresh

    def _combined(self, noise: Array, fresh: Array) -> Array:
        xp, (*lead, height, width) = array_namespace(noise), noise.shape
        h, w = self.operator._out_size((height, width))
        rows, columns = split(height, h), split(width, w)
        work, fresh = cast(noise, accumulation_dtype(noise)), cast(fresh, accumulation_dtype(noise))
        used = rows.fresh * width
        with full_precision(noise):
            work = rows.carried.down(work)
            if rows.fresh:
                work = work + rows.bridge.down(xp.reshape(fresh[..., :used], (*lead, rows.fresh, width)))
            work = columns.carried.across(work)
            if columns.fresh:
                work = work + columns.bridge.across(xp.reshape(fresh[..., used:], (*lead, h, columns.fresh)))
        return cast(work, noise.dtype)


@dataclass(frozen=True, eq=False)
class Split:
    """One axis of the split, as matrices: what targets get of the source cells, and of the fresh noise."""

    fresh: int  # how many fresh normals a line takes: one for each piece of a divided cell
    carried: Banded  # m x n
    bridge: Banded  # m x fresh


@lru_cache(maxsize=64)
def split(source: int, target: int) -> Split:
    """The pieces of `source` cells that lie in `target` cells over the same line."""
    # In units of 1/(source target) of the line all borders are integers.
    edges = np.union1d(np.arange(source + 1) * target, np.arange(target + 1) * source)
    start, part = edges[:-1], np.diff(edges) / target
    cell, goes = start // target, start // source
    norm = 1 / np.sqrt(np.bincount(goes, part, target))

    carried = np.zeros((target, source))
    carried[goes, cell] = norm[goes] * part

    (divided,) = np.nonzero(part < 1)
    loose = np.sqrt(part[divided])
    bridge = np.zeros((target, len(divided)))
    bridge[goes[divided], np.arange(len(divided))] = loose * norm[goes[divided]]
    bridge -= carried[:, cell[divided]] * loose
    return Split(len(divided), Banded.of(carried), Banded.of(bridge))
