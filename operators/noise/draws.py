"""Fresh white noise that is the same everywhere: drawn on the host, from an explicit seed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np

from ..arrays import Array, array_namespace, device_of

Seed: TypeAlias = int | Sequence[int] | np.random.Generator


def generator_of(seed: Seed) -> np.random.Generator:
    """A numpy generator for a seed; one that is given is used as it is, and advanced."""
    if isinstance(seed, np.random.Generator):
        return seed
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(seed)))


def standard_normal(shape: Sequence[int], seed: Seed, like: Array) -> Array:
    """N(0, 1) of `shape` in the dtype, on the device and in the library of `like`.

    Drawn in float32 whatever the dtype, so that a seed means the same noise in all of them.
    """
    values = generator_of(seed).standard_normal(tuple(shape), dtype=np.float32)
    xp = array_namespace(like)
    drawn = xp.asarray(values, device=device_of(like))
    return drawn if drawn.dtype == like.dtype else xp.astype(drawn, like.dtype)
