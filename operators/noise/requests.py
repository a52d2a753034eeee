"""Targets that request source cells: how white noise is shared out among them, and stays white."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..arrays import Array, accumulation_dtype, array_namespace, cast, device_of
from ..scatter import scatter_add

NEGLIGIBLE = 1e-6  # a request this small, of a whole cell, would only carry rounding errors


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
