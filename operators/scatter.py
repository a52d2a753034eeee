"""Sums by destination: several values added into one cell, the same way in every array library."""

import math

import array_api_compat
import numpy as np

from .arrays import Array, accumulation_dtype, array_namespace, cast, compiling, device_of, is_torch, require_floating


def scatter_add(values: Array, index: np.ndarray, size: int) -> Array:
    """out[..., t] = sum of the values[..., k] with index[k] = t      (..., n) -> (..., size)

    `index` holds n integers from 0 to size - 1 on the host; what nobody sends to is 0. dtype, device and library are
    those of `values`; float16 and bfloat16 are summed in float32 (numpy: all in float64) and rounded once. The order of
    the sum is fixed, so the result is reproducible, except in jax and cupy on a GPU. torch and jax differentiate it.
    Raises ValueError for an index that does not fit, TypeError for values that are not real floating.
    """
    require_floating("scatter_add", values)
    if not compiling(values):  # a traced index has no values to look at
        _require_fit(index, values.shape[-1], size)
    summed = _summed(cast(values, accumulation_dtype(values)), index, size)
    return cast(summed, values.dtype)


def _require_fit(index: np.ndarray, count: int, size: int) -> None:
    if not isinstance(index, np.ndarray) or not np.issubdtype(index.dtype, np.integer):
        raise ValueError(f"index must be a numpy array of integers, not {type(index).__name__}")
    if index.shape != (count,):
        raise ValueError(f"index of shape {index.shape} does not go with {count} values")
    if count and (index.min() < 0 or index.max() >= size):
        raise ValueError(f"index runs from {index.min()} to {index.max()}, outside 0 to {size - 1}")


def _summed(values: Array, index: np.ndarray, size: int) -> Array:
    if is_torch(values):
        return _torch(values, index, size)
    if array_api_compat.is_numpy_array(values):
        return _numpy(values, index, size)
    if array_api_compat.is_jax_array(values):
        zeros = array_namespace(values).zeros((*values.shape[:-1], size), dtype=values.dtype)
        return zeros.at[..., index].add(values)
    if array_api_compat.is_cupy_array(values):
        return _cupy(values, index, size)
    return _gathered(values, index, size)


def _numpy(values: np.ndarray, index: np.ndarray, size: int) -> np.ndarray:
    lead, count = values.shape[:-1], values.shape[-1]
    out = np.empty((math.prod(lead), size), values.dtype)
    for row, line in zip(out, values.reshape(-1, count) if count else np.empty((len(out), 0))):
        row[:] = np.bincount(index, line, size)  # several times faster than np.add.at
    return out.reshape(*lead, size)


def _torch(values: Array, index: np.ndarray, size: int) -> Array:
    where = array_namespace(values).asarray(index, device=values.device)
    if values.device.type == "cuda":
        # index_add uses atomics there, in any order; index_put sorts first and is reproducible.
        columns = values.movedim(-1, 0)
        empty = columns.new_zeros((size, *columns.shape[1:]))
        return empty.index_put((where,), columns, accumulate=True).movedim(0, -1)
    return values.new_zeros((*values.shape[:-1], size)).index_add(-1, where, values)


def _cupy(values: Array, index: np.ndarray, size: int) -> Array:
    import cupyx  # type: ignore[import-not-found]

    xp = array_namespace(values)
    out = xp.zeros((*values.shape[:-1], size), dtype=values.dtype)
    cupyx.scatter_add(out, (..., xp.asarray(index)), values)
    return out


def _gathered(values: Array, index: np.ndarray, size: int) -> Array:
    """With what the array API standard has: every cell gathers its senders, padded with zeros to equal number."""
    xp, device, count = array_namespace(values), device_of(values), len(index)
    order = np.argsort(index, kind="stable")
    senders = np.bincount(index, minlength=size)
    rank = np.arange(count) - np.repeat(np.cumsum(senders) - senders, senders)
    plan = np.full((size, max(1, senders.max(initial=0))), count)  # position `count` is the zero
    plan[index[order], rank] = order
    zero = xp.zeros((*values.shape[:-1], 1), dtype=values.dtype, device=device)
    padded = xp.concat([values, zero], axis=-1)
    taken = xp.take(padded, xp.asarray(plan.ravel(), device=device), axis=-1)
    return xp.sum(xp.reshape(taken, (*values.shape[:-1], *plan.shape)), axis=-1, dtype=values.dtype)
