"""What the operators ask of an array library, beyond the array API standard.

No framework is imported here: torch is looked up only if the program has already imported it.
"""

import math
import sys
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeAlias

import array_api_compat
import numpy as np

Array: TypeAlias = Any  # numpy.ndarray, torch.Tensor, or any array of the array API standard
Namespace: TypeAlias = Any


def _torch_of(x: Array) -> Any:
    torch = sys.modules.get("torch")
    return torch if torch is not None and isinstance(x, torch.Tensor) else None


def is_torch(x: Array) -> bool:
    """Whether `x` is a torch tensor."""
    return _torch_of(x) is not None


def array_namespace(x: Array) -> Namespace:
    """The array-API namespace of `x`; torch takes a short cut that `torch.compile` traces without a warning."""
    if _torch_of(x) is not None:
        import array_api_compat.torch as xp

        return xp
    return array_api_compat.array_namespace(x)


def device_of(x: Array) -> Any:
    """The device of `x`, as the creation functions of its namespace take it."""
    return x.device if _torch_of(x) is not None else array_api_compat.device(x)


def require_floating(operator: object, x: Array) -> None:
    """Raise TypeError unless `x` is real floating: a mean of integers has no place in their dtype."""
    floating = x.dtype.is_floating_point if is_torch(x) else array_namespace(x).isdtype(x.dtype, "real floating")
    if not floating:
        raise TypeError(f"{operator} needs a real floating dtype, not {x.dtype}")


def accumulation_dtype(x: Array) -> Any:
    """The dtype to sum in: float32 for narrower floats (float16, bfloat16), else that of `x`."""
    if is_torch(x):
        return x.dtype if x.dtype.itemsize >= 4 else array_namespace(x).float32
    xp = array_namespace(x)
    return xp.float32 if xp.finfo(x.dtype).bits < 32 else x.dtype


def cast(x: Array, dtype: Any) -> Array:
    """`x` in `dtype`, without a copy where it already is."""
    return x if x.dtype == dtype else array_namespace(x).astype(x, dtype)


def compiling(x: Array) -> bool:
    """Whether `torch.compile` is tracing the caller."""
    torch = _torch_of(x)
    if torch is None:
        return False
    if hasattr(torch.compiler, "is_compiling"):
        return bool(torch.compiler.is_compiling())
    dynamo = sys.modules.get("torch._dynamo")  # torch before 2.3, which A1111 pins
    return dynamo is not None and bool(dynamo.is_compiling())


def autocasts(kind: str) -> bool:
    """Whether torch, imported already, lowers matrix products on devices of this kind now."""
    torch = sys.modules["torch"]
    if hasattr(torch.amp, "is_autocast_available"):
        return bool(torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind))
    asked = {"cuda": torch.is_autocast_enabled, "cpu": torch.is_autocast_cpu_enabled}  # torch before 2.4
    return kind in asked and bool(asked[kind]())


def full_precision(x: Array) -> AbstractContextManager[Any]:
    """A context in which matrix products keep their dtype: torch's autocast would lower them silently."""
    torch = _torch_of(x)
    if torch is not None and autocasts(x.device.type):
        off: AbstractContextManager[Any] = torch.autocast(x.device.type, enabled=False)
        return off
    return nullcontext()


def take_pixels(x: Array, index: Array) -> Array:
    """The pixels of x (..., H, W) at row-major positions `index` (integers, any shape): (..., *index.shape)."""
    xp = array_namespace(x)
    flat = xp.reshape(x, (*x.shape[:-2], x.shape[-2] * x.shape[-1]))
    where = xp.asarray(index, device=device_of(x))
    taken = xp.take(flat, xp.reshape(where, (-1,)), axis=-1)
    return xp.reshape(taken, (*x.shape[:-2], *index.shape))


def block_average(x: Array, scale: tuple[int, int]) -> Array:
    """torch's own means of the blocks of x (..., H, W), one reading of memory."""
    torch = _torch_of(x)
    images = x.reshape(-1, 1, *x.shape[-2:])
    means = torch.nn.functional.avg_pool2d(images, scale)
    return means.reshape(*x.shape[:-2], *means.shape[-2:])


def padded(x: Array, before: tuple[int, int], after: tuple[int, int], mode: str) -> Array:
    """x (..., H, W), a torch tensor, with rows and columns added: "reflect", "replicate" or "constant" (zeros)."""
    torch = _torch_of(x)
    images = x.reshape(1, -1, *x.shape[-2:])
    wide = torch.nn.functional.pad(images, (before[1], after[1], before[0], after[0]), mode=mode)
    return wide.reshape(*x.shape[:-2], *wide.shape[-2:])


def grid_sample(x: Array, grid: np.ndarray, mode: str, padding: str) -> Array:
    """torch's samples of x (..., H, W) at `grid` (h, w, 2), (x, y) from -1 to 1 from border to border."""
    torch = _torch_of(x)
    images = x.reshape(-1, x.shape[-3] if x.ndim > 2 else 1, *x.shape[-2:])  # it runs in parallel over the first dim
    where = torch.asarray(grid, device=x.device).expand(images.shape[0], *grid.shape)
    samples = torch.nn.functional.grid_sample(images, where, mode, padding, align_corners=False)
    return samples.reshape(*x.shape[:-2], *grid.shape[:2])


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
