"""What warps share: every target pixel shows the source at some position, between pixels or outside."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse  # type: ignore[import-untyped]

from .arrays import Array, compiling, require_floating
from .same_size import SameSize
from .sampling import Sampling, sampling
from .shapes import Size

if TYPE_CHECKING:
    from .noise.split import ConservativeSplit


class SampledOperator(SameSize):
    """Backward maps: target pixel (i, j) shows the source at (x, y) = (column, row) positions(i, j).

    forward   y[i, j] = sum_k w_k x[q_k], q_k the pixels around the position (bilinear) or the closest one (nearest)
    adjoint   x[p] = sum of w_k y[i, j] over the q_k = p        (..., H, W) -> (..., H, W)

    `fill` says what is outside: the border pixel ("edge"), the mirror image about it ("reflect"), or 0 ("zero"). Not
    isotropic: the noise partner is `ConservativeSplit`. `coverage` is the share of each pixel's weights that fell
    inside. A new one defines `_positions` besides the sizes. Raises TypeError for a dtype that is not real floating.
    """

    mode: str
    fill: str

    @abstractmethod
    def _positions(self, size: Size) -> tuple[np.ndarray, np.ndarray]:
        """Where each target pixel of an image of `size` looks: float64 (x, y), in plain numpy."""

    @property
    def preserves_constants(self) -> bool:
        return self.fill != "zero"

    def noise_partner(self) -> ConservativeSplit:  # type: ignore[override]
        from .noise.split import ConservativeSplit

        return ConservativeSplit(self)

    def coverage(self, shape: Sequence[int]) -> np.ndarray:
        height, width = self.out_shape(shape)[-2:]
        return self.seen((height, width)).weight.sum(axis=0).clip(0, 1)

    def seen(self, size: Size) -> Sampling:
        """The tables without what `fill` makes up: weights of pixels outside are 0."""
        return sampling(*self._positions(size), size, self.mode, "zero")

    def matrix(self, shape: Sequence[int]) -> sparse.csr_array:
        height, width = self.out_shape(shape)[-2:]
        return self._sampling((height, width)).matrix.copy()

    def _sampling(self, size: Size, tracing: bool = False) -> Sampling:
        """The tables for images of `size`."""
        return _built(self, size) if tracing else _cached(self, size)

    def _forward(self, x: Array) -> Array:
        require_floating(self, x)
        return self._sampling((x.shape[-2], x.shape[-1]), compiling(x)).forward(x)

    def _adjoint(self, y: Array, size: Size) -> Array:
        require_floating(self, y)
        return self._sampling(size, compiling(y)).adjoint(y)


def _built(operator: SampledOperator, size: Size) -> Sampling:
    return sampling(*operator._positions(size), size, operator.mode, operator.fill)


# Kept on the host: a cached device tensor born under torch.inference_mode could never be differentiated through.
_cached = lru_cache(maxsize=4)(_built)  # a few: tables of large images are large
