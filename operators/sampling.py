"""Operators that sample the image between its pixels, for signal and for noise.

`Sampling` says which pixels are seen from where, and how much of each; `SplitTable` shares the white noise of a source
cell out among the target pixels that see it.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from scipy import sparse  # type: ignore[import-untyped]

from .arrays import (
    Array,
    accumulation_dtype,
    array_namespace,
    cast,
    compiling,
    device_of,
    grid_sample,
    is_torch,
    require_floating,
    scatter_add,
    take_pixels,
)
from .base import SameSize
from .fields import Choice
from .noise import NoisePartner
from .shapes import Size

MODE, FILL = Choice(("bilinear", "nearest")), Choice(("edge", "reflect", "zero"))
LARGE = 1024  # positions in float32 are good to 4e-8 of the side: 4e-5 pixels up to here
NEGLIGIBLE = 1e-6  # a request this small, of a whole cell, would only carry rounding errors


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

    def noise_partner(self) -> NoisePartner:
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


@dataclass(frozen=True, eq=False)
class Sampling:
    """The weights of the K source pixels (4, or 1 for nearest) that each target pixel sees.

    forward   y[i, j] = sum_k weight[k, i, j] x.ravel()[index[k, i, j]]        (..., H, W) -> (..., h, w)
    adjoint   x.ravel()[p] = sum of weight[k, i, j] y[i, j] over index[k, i, j] = p

    All tables are on the host. Sums run in float32 for float16 and bfloat16 (numpy: all in float64). torch samples
    small images at `grid` with its own sampler, several times faster on a CPU than gathers; positions are then rounded
    to the dtype of x (those of nearest pixels lie at their centres, far from any other).
    """

    index: np.ndarray  # (K, h, w) row-major positions
    weight: np.ndarray  # (K, h, w) float64
    grid: np.ndarray  # (h, w, 2) as `arrays.grid_sample` takes it, float64
    narrow_grid: np.ndarray  # the same in float32
    padding: str  # what that does beyond the border
    size: Size  # of the source

    @cached_property
    def matrix(self) -> sparse.csr_array:
        """The weights as a float64 sparse matrix on flattened images."""
        count, (height, width) = self.index[0].size, self.size
        rows = np.broadcast_to(np.arange(count), (len(self.index), count))
        entries = self.weight.ravel(), (rows.ravel(), self.index.ravel())
        matrix = sparse.csr_array(entries, shape=(count, height * width))
        matrix.eliminate_zeros()
        return matrix

    def forward(self, x: Array) -> Array:
        """y of x (..., H, W)."""
        if isinstance(x, np.ndarray):
            return _product(self.matrix, x, self.index.shape[-2:])
        dtype = accumulation_dtype(x)
        if is_torch(x) and 0 not in x.shape and (max(self.size) <= LARGE or dtype.itemsize == 8):
            mode = "nearest" if len(self.index) == 1 else "bilinear"
            grid = self.grid if dtype.itemsize == 8 else self.narrow_grid
            return cast(grid_sample(cast(x, dtype), grid, mode, self.padding), x.dtype)
        xp = array_namespace(x)
        weight = xp.asarray(self.weight, dtype=dtype, device=device_of(x))
        return cast(xp.sum(take_pixels(cast(x, dtype), self.index) * weight, axis=-3), x.dtype)

    def adjoint(self, y: Array) -> Array:
        """x of y (..., h, w)."""
        if isinstance(y, np.ndarray):
            return _product(self.matrix.T, y, self.size)
        xp, dtype = array_namespace(y), accumulation_dtype(y)
        weight = xp.asarray(self.weight, dtype=dtype, device=device_of(y))
        parts = xp.reshape(cast(y, dtype)[..., None, :, :] * weight, (*y.shape[:-2], self.index.size))
        height, width = self.size
        sums = scatter_add(parts, self.index.reshape(-1), height * width)
        return cast(xp.reshape(sums, (*y.shape[:-2], height, width)), y.dtype)


def _product(matrix: sparse.csr_array, x: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    images = x.reshape(-1, matrix.shape[1])
    out = np.empty((len(images), matrix.shape[0]), x.dtype)
    for image, line in zip(images, out):  # several times faster than all at once, which transposes them first
        line[:] = matrix @ image.astype(np.float64, copy=False)
    return out.reshape(*x.shape[:-2], *size)


def sampling(x: np.ndarray, y: np.ndarray, size: Size, mode: str, fill: str) -> Sampling:
    """The tables for samples at (x, y), two arrays (h, w) in pixels from the centre of the first one.

    Positions outside take the border pixel ("edge"), the mirror image about it ("reflect"), or 0 ("zero"). Plain numpy,
    so that torch.compile can trace it.
    """
    height, width = size
    if mode == "nearest":
        x, y = np.floor(x + 0.5), np.floor(y + 0.5)
    x, y = _filled(x, width, fill), _filled(y, height, fill)
    left, top = np.floor(x), np.floor(y)
    if mode == "nearest":
        corners = [(left, top, np.ones(x.shape))]
    else:
        right, down = x - left, y - top
        corners = [
            (left, top, (1 - right) * (1 - down)),
            (left + 1, top, right * (1 - down)),
            (left, top + 1, (1 - right) * down),
            (left + 1, top + 1, right * down),
        ]
    grid = np.stack([(2 * x + 1) / width - 1, (2 * y + 1) / height - 1], axis=-1)
    inside = [(a >= 0) & (a < width) & (b >= 0) & (b < height) for a, b, _ in corners]
    index = np.stack([np.clip(b, 0, height - 1) * width + np.clip(a, 0, width - 1) for a, b, _ in corners])
    weight = np.stack([np.where(seen, w, 0.0) for seen, (_, _, w) in zip(inside, corners)])
    padding = "zeros" if fill == "zero" else "border"
    return Sampling(index.astype(np.int64), weight, grid, grid.astype(np.float32), padding, size)


def _filled(position: np.ndarray, length: int, fill: str) -> np.ndarray:
    """Positions along one axis, brought to where the fill looks; "zero" leaves them outside, at a moderate distance."""
    if fill == "zero":
        return np.clip(position, -2, length + 1)
    if fill == "edge" or length == 1:
        return np.clip(position, 0, length - 1)
    period = 2 * (length - 1)
    turned = position % period
    return np.where(turned > length - 1, period - turned, turned)


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


@dataclass(frozen=True, eq=False)
class SplitTable:
    """The conservative split: every source cell is divided among its requests, every target adds up what it gets.

    forward   y_i = sum_j inc_ij / sqrt(sum_j a_ij)        (..., sources) -> (..., targets)
              inc_ij = a_ij X_j + e_ij - a_ij sum_k e_kj,  e_ij = sqrt(a_ij) z_ij, z fresh white noise

    with a_ij = b_ij / sum_k b_kj for requests of weight b_ij. The increments have covariance diag(a) and add up to
    X_j, so y is white exactly. A target without requests takes a fresh normal; a cell that one target requests alone
    goes to it whole, without fresh noise. The cost is linear in the number of requests.
    Source: Brownian bridges, as in infinite-resolution noise (Chang et al. 2024), in closed form.
    """

    target: np.ndarray  # of each request; requests of divided cells come first
    source: np.ndarray
    fraction: np.ndarray  # a_ij
    scale: np.ndarray  # 1 / sqrt(sum_j a_ij) of the request's target
    divided: int  # how many requests share their cell with another
    unfed: np.ndarray  # the targets without requests
    targets: int
    sources: int

    @classmethod
    def from_requests(
        cls, target: np.ndarray, source: np.ndarray, weight: np.ndarray, targets: int, sources: int
    ) -> SplitTable:
        """The table of requests: target[r] asks source[r] for `weight[r]` of it, in parts of a cell (0 to 1, or more).

        Requests of at most NEGLIGIBLE are dropped: brought to unit variance, they would amplify rounding.
        """
        kept = weight > NEGLIGIBLE
        target, source, weight = target[kept], source[kept], weight[kept]
        shared = np.bincount(source, minlength=sources)[source] > 1
        order = np.argsort(~shared, kind="stable")
        target, source, weight = target[order], source[order], weight[order]
        fraction = weight / np.bincount(source, weight, sources)[source]
        received = np.bincount(target, fraction, targets)
        scale = 1 / np.sqrt(received[target])
        unfed = np.flatnonzero(received == 0)
        return cls(target, source, fraction, scale, int(shared.sum()), unfed, targets, sources)

    @property
    def fresh(self) -> int:
        """How many fresh normals an image takes."""
        return self.divided + len(self.unfed)

    def __call__(self, noise: Array, fresh: Array) -> Array:
        """Noise (..., sources) and fresh noise (..., fresh) to (..., targets), in dtype and library of `noise`."""
        xp, dtype, device = array_namespace(noise), accumulation_dtype(noise), device_of(noise)
        whole, fresh = cast(noise, dtype), cast(fresh, dtype)
        fraction, scale = (xp.asarray(v, dtype=dtype, device=device) for v in (self.fraction, self.scale))
        # inc = a (X - sum e) + e: the bridge of a cell in one subtraction from it.
        loose = fresh[..., : self.divided] * xp.sqrt(fraction[: self.divided])
        pinned = whole - scatter_add(loose, self.source[: self.divided], self.sources)
        parts = xp.take(pinned, xp.asarray(self.source, device=device), axis=-1) * fraction
        parts = xp.concat([parts[..., : self.divided] + loose, parts[..., self.divided :]], axis=-1) * scale
        given = xp.concat([parts, fresh[..., self.divided :]], axis=-1)
        return cast(scatter_add(given, np.concatenate([self.target, self.unfed]), self.targets), noise.dtype)
