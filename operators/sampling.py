"""Sampling an image at positions between its pixels: which pixels are seen from where, and how much of each."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import sparse  # type: ignore[import-untyped]

from .arrays import (
    Array,
    accumulation_dtype,
    array_namespace,
    cast,
    device_of,
    grid_sample,
    is_torch,
    take_pixels,
)
from .scatter import scatter_add
from .shapes import Size

MODES = ("bilinear", "nearest")
FILLS = ("edge", "reflect", "zero")
LARGE = 1024  # positions in float32 are good to 4e-8 of the side: 4e-5 pixels up to here


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
