"""Noise along a video, pixel by pixel: particles that carry how much noise they stand for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .arrays import Array, accumulation_dtype, array_namespace, cast, device_of, require_floating, scatter_add
from .host_array import HostArray
from .noise import Seed, standard_normal
from .shapes import ShapeError

LIGHTEST = 1e-30  # of a weight: particles split at every step would vanish after some hundred


@dataclass(frozen=True, eq=False)
class DensityWarp:
    """White noise warped step by step: whole pixels move, with their sub-pixel positions and densities kept.

    Every pixel is a particle with an offset (dx, dy) from its centre, a weight w and a noise value q. One step:

    shrink   a particle lands in the pixel closest to where the flow takes it, and is gone if that is outside
    expand   a pixel in which none landed takes a copy of the particle closest to where it looks back to
    split    a particle with n copies: q_k = q / sqrt(n) + Z_k - mean(Z), w_k = w / n, Z fresh
    merge    copies that meet in a pixel: q' = sum w q / sqrt(sum w^2), w' = sum w, offset' = sum w offset / sum w
    fresh    a pixel that looks back to outside: a fresh q of weight 1, each its own

    Each stage keeps white noise white, exactly. For comparison with `ConservativeSplit`, which blends between pixels
    and keeps no state. Immutable: `step` gives the next state. Leading dims (..., H, W) of the noise share the
    geometry. Start with `DensityWarp.start(noise)`.

    Source: Burgert et al. 2025 (Go-with-the-Flow), with copies counted by pixel instead of found by equal values,
    pixels outside fresh one by one, and offsets kept.
    """

    noise: Array  # q (..., H, W)
    weight: np.ndarray  # w (H, W)
    offset: np.ndarray  # (dx, dy) from the centre of the pixel (H, W, 2)

    @classmethod
    def start(cls, noise: Array) -> DensityWarp:
        """The first state, for white noise of (..., H, W); raises TypeError for a dtype that is not real floating."""
        require_floating(cls.__name__, noise)
        if noise.ndim < 2 or 0 in noise.shape[-2:]:
            raise ShapeError(cls.__name__, noise.shape, "needs a height and a width")
        return cls(noise, np.ones(noise.shape[-2:]), np.zeros((*noise.shape[-2:], 2)))

    def step(self, flow: Any, seed: Seed, forward: Any = None) -> DensityWarp:
        """The state after one warp.

        `flow` (H, W, 2) is that of `Warp`: pixel (i, j) looks back to (j + dx, i + dy). `forward` (H, W, 2) says where
        each pixel goes, by default -flow. `seed` is that of a `NoisePartner`. Raises ValueError for flows that are not
        finite or of another shape.
        """
        back = self._flow("flow", flow)
        ahead = -back if forward is None else self._flow("forward", forward)
        source, target, offset, fresh = self._copies(back, ahead)
        count = self.weight.size
        copies = np.bincount(source, minlength=count)
        weight = np.maximum(self.weight.ravel()[source] / copies[source], LIGHTEST)
        total = np.bincount(target, weight, count)
        total[fresh] = 1
        moved = [np.bincount(target, weight * offset[:, axis], count) / total for axis in (0, 1)]
        noise = self._merged(source, target, weight, copies, fresh, seed)
        shape = self.weight.shape
        return DensityWarp(noise, total.reshape(shape), np.stack(moved, axis=-1).reshape(*shape, 2))

    def _flow(self, name: str, flow: Any) -> np.ndarray:
        held, wanted = HostArray(name, flow), (*self.weight.shape, 2)
        if held.values.shape != wanted:
            raise ValueError(f"{name} must be of shape {wanted} here, not {held.values.shape}")
        return held.values

    def _copies(self, back: np.ndarray, ahead: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Source and target pixel of every copy, its offset at the target, and the targets that take fresh noise."""
        rows, columns = np.indices(self.weight.shape)
        centres = np.stack([columns, rows], axis=-1).reshape(-1, 2)
        particles = centres + self.offset.reshape(-1, 2)
        arrivals = particles + ahead.reshape(-1, 2)
        at, inside = self._pixels(arrivals)
        landed, target = np.flatnonzero(inside), at[inside]

        empty = np.flatnonzero(np.bincount(target, minlength=len(centres)) == 0)
        origin = centres[empty] + back.reshape(-1, 2)[empty]
        fetched, known = self._pixels(origin)
        fetched, filled = fetched[known], empty[known]
        # A copy keeps its distance from where the pixel looks, as far as the pixel reaches.
        astray = np.clip(particles[fetched] - origin[known], -0.5, 0.5)
        return (
            np.concatenate([landed, fetched]),
            np.concatenate([target, filled]),
            np.concatenate([arrivals[landed] - centres[target], astray]),
            empty[~known],
        )

    def _pixels(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The row-major pixel closest to each position, and whether there is one."""
        height, width = self.weight.shape
        x, y = np.floor(positions + 0.5).T
        inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
        return np.where(inside, y * width + x, 0).astype(np.int64), inside

    def _merged(
        self,
        source: np.ndarray,
        target: np.ndarray,
        weight: np.ndarray,
        copies: np.ndarray,
        fresh: np.ndarray,
        seed: Seed,
    ) -> Array:
        xp, dtype, device = array_namespace(self.noise), accumulation_dtype(self.noise), device_of(self.noise)
        lead, count = self.noise.shape[:-2], self.weight.size
        flat = cast(xp.reshape(self.noise, (*lead, count)), dtype)
        drawn = standard_normal((*lead, len(source) + len(fresh)), seed, like=flat)
        z, new = drawn[..., : len(source)], drawn[..., len(source) :]

        def beside(values: np.ndarray) -> Array:
            return xp.asarray(values, dtype=dtype, device=device)

        where = xp.asarray(source, device=device)
        means = scatter_add(z, source, count) / beside(np.maximum(copies, 1))
        bridge = z - xp.take(means, where, axis=-1)  # exactly 0 for a particle with one copy
        split = xp.take(flat, where, axis=-1) / beside(np.sqrt(copies[source])) + bridge
        share = weight / np.sqrt(np.bincount(target, weight**2, count))[target]
        values = xp.concat([split * beside(share), new], axis=-1)
        out = scatter_add(values, np.concatenate([target, fresh]), count)
        return cast(xp.reshape(out, tuple(self.noise.shape)), self.noise.dtype)
