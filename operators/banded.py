"""Matrices of one axis that are mostly a band, multiplied about the band only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from .arrays import Array, array_namespace, device_of

BAND = 64  # rows multiplied together: fewer make many small products, more take in many zeros (measured at 64 to 1024)

Block: TypeAlias = tuple[int, int, np.ndarray]  # first column, column after the last, and what is between


@dataclass(frozen=True, eq=False)
class Banded:
    """A matrix M (m x n) as groups of rows, each with the columns where it is not 0; on the host, in both precisions.

    Kept on the host since a cached device tensor born under torch.inference_mode could never be differentiated through.
    """

    double: tuple[Block, ...]
    single: tuple[Block, ...]

    @classmethod
    def of(cls, matrix: np.ndarray) -> Banded:
        """`matrix` cut into groups; whole where that saves less than half: many small products cost more than one."""
        blocks = []
        for first in range(0, len(matrix), BAND):
            rows = matrix[first : first + BAND]
            used = np.flatnonzero(rows.any(axis=0))
            start, stop = (int(used[0]), int(used[-1]) + 1) if len(used) else (0, 1)
            blocks.append((start, stop, rows[:, start:stop]))
        saves = 2 * sum(block.size for _, _, block in blocks) <= matrix.size
        return cls.holding(tuple(blocks) if saves else ((0, matrix.shape[1], matrix),))

    @classmethod
    def holding(cls, blocks: tuple[Block, ...]) -> Banded:
        """These blocks, copied: torch warns of arrays that cannot be written to."""
        double, single = (
            tuple((start, stop, block.astype(dtype)) for start, stop, block in blocks)
            for dtype in (np.float64, np.float32)
        )
        return cls(double, single)

    @property
    def length(self) -> int:
        """m, the length it leads to."""
        return sum(len(block) for _, _, block in self.double)

    def down(self, x: Array) -> Array:
        """M x, along the rows of x: (..., n, W) -> (..., m, W); x in float32 or float64."""
        parts = [block @ x[..., start:stop, :] for start, stop, block in self._beside(x)]
        return parts[0] if len(parts) == 1 else array_namespace(x).concat(parts, axis=-2)

    def across(self, x: Array) -> Array:
        """x M^T, along the columns of x: (..., H, n) -> (..., H, m)."""
        xp = array_namespace(x)
        parts = [x[..., start:stop] @ xp.matrix_transpose(block) for start, stop, block in self._beside(x)]
        return parts[0] if len(parts) == 1 else xp.concat(parts, axis=-1)

    def _beside(self, x: Array) -> list[tuple[int, int, Array]]:
        xp, device = array_namespace(x), device_of(x)
        blocks = self.double if x.dtype == xp.float64 else self.single
        return [(start, stop, xp.asarray(block, device=device)) for start, stop, block in blocks]
