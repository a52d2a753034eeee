"""Noise of a resize: every source cell is split among the target cells it overlaps."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from ..arrays import Array, accumulation_dtype, array_namespace, cast, device_of
from ..scatter import scatter_add
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
        first = xp.reshape(fresh[..., : rows.fresh * width], (*lead, width, rows.fresh))
        second = xp.reshape(fresh[..., rows.fresh * width :], (*lead, h, columns.fresh))
        work = xp.matrix_transpose(rows(xp.matrix_transpose(work), first))
        return cast(columns(work, second), noise.dtype)


@dataclass(frozen=True, eq=False)
class Split:
    """One axis: pieces of source cells and the target cells they go to; pieces of divided cells come first."""

    source: np.ndarray  # the cell of each piece
    target: np.ndarray  # where it goes
    part: np.ndarray  # how much of the cell it is
    cell: np.ndarray  # for the pieces of divided cells: which of the divided cells
    norm: np.ndarray  # 1 / sqrt of what each target receives

    @property
    def fresh(self) -> int:
        """How many fresh normals a line takes."""
        return len(self.cell)

    def __call__(self, noise: Array, fresh: Array) -> Array:
        """(..., n) and (..., fresh) -> (..., m)."""
        xp, device = array_namespace(noise), device_of(noise)
        part, norm = (xp.asarray(v, dtype=noise.dtype, device=device) for v in (self.part, self.norm))
        pieces = xp.take(noise, xp.asarray(self.source, device=device), axis=-1) * part
        if self.fresh:
            pieces = pieces + self._bridge(fresh, part, pieces.shape[-1])
        return scatter_add(pieces, self.target, len(self.norm)) * norm

    def _bridge(self, fresh: Array, part: Array, count: int) -> Array:
        """e - a sum e for the divided cells, 0 for the others: (..., count)."""
        xp, device = array_namespace(fresh), device_of(fresh)
        part = part[: self.fresh]
        loose = fresh * xp.sqrt(part)
        sums = scatter_add(loose, self.cell, int(self.cell.max()) + 1)
        tied = loose - part * xp.take(sums, xp.asarray(self.cell, device=device), axis=-1)
        rest = (*tied.shape[:-1], count - self.fresh)
        return xp.concat([tied, xp.zeros(rest, dtype=tied.dtype, device=device)], axis=-1)


@lru_cache(maxsize=64)
def split(source: int, target: int) -> Split:
    """The pieces of `source` cells that lie in `target` cells over the same line."""
    # In units of 1/(source target) of the line all borders are integers.
    edges = np.union1d(np.arange(source + 1) * target, np.arange(target + 1) * source)
    start, length = edges[:-1], np.diff(edges)
    whole = length == target
    order = np.argsort(whole, kind="stable")
    start, length, divided = start[order], length[order], int((~whole).sum())
    part = length / target
    _, cell = np.unique(start[:divided] // target, return_inverse=True)
    received = np.bincount(start // source, part, target)
    return Split(start // target, start // source, part, cell, 1 / np.sqrt(received))
