"""A resize that was learnt: neighbourhoods of all channels to one pixel of all channels, and its file.

What `least_squares.fit_resize` finds. A latent is no small picture: the latent of a reduced picture is another mixture
of the channels around a pixel than their mean.
"""

from __future__ import annotations

import json
import math
import os
import secrets
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load, save
from scipy import sparse  # type: ignore[import-untyped]

from .arrays import Array, accumulation_dtype, array_namespace, cast, device_of, full_precision, require_floating
from .base import LinearOperator
from .fields import MAX_SCALE, Whole
from .host_array import MAX_VALUES, HostArray
from .shapes import Shape, ShapeError, indivisible, nearest_divisible

FORMAT, VERSION = "commutant-fitted-resize", 1
MAX_HEADER = 2**16  # bytes of a file's header, which holds a few hundred
MAX_FILE = 8 + MAX_HEADER + 8 * 2 * MAX_VALUES


@dataclass(frozen=True, init=False, repr=False)
class FittedResize:
    """s times smaller: a k x k neighbourhood of all C channels makes one pixel of all D channels.

    forward   y[d, i, j] = sum_{c; a, b < k} W[d, c, a, b] x[c, s i + a - p, s j + b - p]
    adjoint   x[c, m, n] = sum of W[d, c, a, b] y[d, i, j] over all that read that pixel
    affine    y[d, i, j] + bias[d]

    (..., C, H, W) -> (..., D, H/s, W/s), with p = (k - s) / 2: the neighbourhood is centred on the s x s block that
    y[i, j] replaces. Beyond the borders it reads the nearest pixel (replicate padding), and the adjoint adds those
    readings to that pixel.

    A sibling of `LinearOperator` and none itself: that one acts on two dims and maps every channel alike, so that any
    two compose; this one acts on the last *three*. Calls, adjoint, shapes and matrix are as there; it has no noise
    partner and no algebra. Noise goes through another operator beside it (`Transport`, whose `signal` is `affine`).

    dtype (float16 and bfloat16 are summed in float32), device and library are kept, torch differentiates all three.
    `weights` (D, C, k, k) and `bias` (D; zeros where left out), anything numpy reads, are copied as float64; equal
    values make equal operators. Raises ValueError for others, or unless k = s, s + 2, s + 4...; ShapeError for an
    input whose channels are not C, or whose sides s does not divide; TypeError for what is not real floating.

    Source: a strided convolution; its weights by least squares, `fit_resize`.
    """

    scale: int
    _weights: HostArray
    _bias: HostArray
    _blocks: np.ndarray = field(compare=False)

    def __init__(self, scale: int, weights: Any, bias: Any = None):
        s = Whole(1).take("scale", scale)
        held = HostArray("weights", weights)
        if held.values.ndim != 4 or held.values.size == 0 or held.values.shape[-1] != held.values.shape[-2]:
            raise ValueError(f"weights must be (channels out, channels in, k, k), not of shape {held.values.shape}")
        d, k = held.values.shape[0], held.values.shape[-1]
        if k < s or (k - s) % 2:
            raise ValueError(f"a neighbourhood of {k} x {k} cannot be centred on {s} x {s}: take {s}, {s + 2}, {s + 4}")
        shift = HostArray("bias", np.zeros(d) if bias is None else bias)
        if shift.values.shape != (d,):
            raise ValueError(f"bias must be {d} numbers, one per channel out, not of shape {shift.values.shape}")
        for name, value in (
            ("scale", s),
            ("_weights", held),
            ("_bias", shift),
            ("_blocks", _in_blocks(held.values, s)),
        ):
            object.__setattr__(self, name, value)

    @classmethod
    def of(cls, operator: LinearOperator, channels: int, scale: int, cells: int) -> FittedResize:
        """An ordinary downscaling operator on every channel alike, cut to `cells` x `cells` neighbourhoods.

        Exact where it reads no farther, as `BlockMean(scale)` does. Of others (`SpectralCrop.by(scale)`) the kernel
        in the middle of a large image is cut, and scaled to the sum it had. Raises ValueError for an operator that
        does not make an image `scale` times smaller.
        """
        half = 16 + cells  # of a small image whose borders are far away
        side, one = 2 * half * scale, np.zeros((2 * half, 2 * half))
        if operator.out_shape((side, side)) != one.shape:
            raise ValueError(f"{operator!r} does not make an image {scale} times smaller")
        one[half, half] = 1
        kernel = operator.adjoint(one, (side, side))
        begin = half * scale - (cells - scale) // 2
        window = kernel[begin : begin + cells, begin : begin + cells]
        return cls(scale, np.einsum("dc,ab->dcab", np.eye(channels), window * (kernel.sum() / window.sum())))

    @property
    def weights(self) -> np.ndarray:
        """W, float64 (D, C, k, k), read-only."""
        return self._weights.values

    @property
    def bias(self) -> np.ndarray:
        """float64 (D,), read-only."""
        return self._bias.values

    @property
    def cells(self) -> int:
        """k, the side of the neighbourhood."""
        return int(self.weights.shape[-1])

    def __repr__(self) -> str:
        d, c, k, _ = self.weights.shape
        return f"FittedResize({self.scale}, <{d}x{c}x{k}x{k} weights {self._weights.digest[:8]}>, {self._bias})"

    def __call__(self, x: Array) -> Array:
        """The linear part, A x, of x (..., C, H, W); raises ShapeError where `out_shape` does."""
        return self._mapped(x, None)

    def affine(self, x: Array) -> Array:
        """A x + bias, the map that was fitted; raises ShapeError where `out_shape` does."""
        return self._mapped(x, self.bias)

    def out_shape(self, shape: Sequence[int]) -> Shape:
        """Shape of the output for x of `shape`; raises ShapeError naming the nearest sizes."""
        d, c = self.weights.shape[:2]
        size = self._size(shape, c)
        fault = indivisible(size, (self.scale, self.scale))
        if fault is not None:
            raise ShapeError(repr(self), shape, fault, nearest_divisible(size, (self.scale, self.scale)))
        return (*shape[:-3], d, size[0] // self.scale, size[1] // self.scale)

    def in_shape(self, shape: Sequence[int]) -> Shape:
        """Shape of the x whose output has `shape`; raises ShapeError if there is none."""
        d, c = self.weights.shape[:2]
        height, width = self._size(shape, d)
        if min(height, width) < 1:
            raise ShapeError(repr(self), shape, "no input has this output shape")
        return (*shape[:-3], c, height * self.scale, width * self.scale)

    def _size(self, shape: Sequence[int], channels: int) -> tuple[int, int]:
        if len(shape) < 3:
            raise ShapeError(repr(self), shape, "needs at least three dims: channels, height and width")
        if shape[-3] != channels:
            raise ShapeError(repr(self), shape, f"there must be {channels} channels, in the third dim from the end")
        return shape[-2], shape[-1]

    def _mapped(self, x: Array, bias: np.ndarray | None) -> Array:
        # One matrix product on blocks of s x s, for every place that a block can have in a neighbourhood, and the sum
        # of the products moved to that place: a k x k window of every pixel is never written out.
        shape = self.out_shape(x.shape)
        require_floating(self, x)
        xp, dtype, s = array_namespace(x), accumulation_dtype(x), self.scale
        (d, h, w), m, count = shape[-3:], self._places, math.prod(shape[:-3])
        images = xp.reshape(cast(x, dtype), (count, *x.shape[-3:]))
        for axis in (2, 3):
            images = _replicated(images, axis, self._before, self._after)
        rows, columns = h + m - 1, w + m - 1
        blocks = xp.permute_dims(xp.reshape(images, (count, -1, rows, s, columns, s)), (1, 3, 5, 0, 2, 4))
        matrix = xp.asarray(self._blocks.copy(), dtype=dtype, device=device_of(x))
        with full_precision(x):
            products = matrix @ xp.reshape(blocks, (self._blocks.shape[1], count * rows * columns))
        products = xp.reshape(products, (m, m, d, count, rows, columns))
        places = [products[a, b, :, :, a : a + h, b : b + w] for a in range(m) for b in range(m)]
        total = sum(places[1:], start=places[0])
        if bias is not None:
            total = total + xp.reshape(xp.asarray(bias.copy(), dtype=dtype, device=device_of(x)), (d, 1, 1, 1))
        return cast(xp.reshape(xp.permute_dims(total, (1, 0, 2, 3)), shape), x.dtype)

    def adjoint(self, y: Array, shape: Sequence[int] | None = None) -> Array:
        """A^T y, of the linear part, for y (..., D, h, w). `shape`, the input's, may be left out: it follows from y's.

        Raises ShapeError where there is no such input, or `shape` (full, or its last three) is that of another.
        """
        whole = self.in_shape(y.shape)
        if shape is not None and tuple(shape) not in (whole, whole[-3:]):
            raise ShapeError(repr(self), y.shape, f"this is no output for input shape {tuple(shape)}")
        require_floating(self, y)
        xp, dtype, s = array_namespace(y), accumulation_dtype(y), self.scale
        (d, h, w), (c, height, width), m = y.shape[-3:], whole[-3:], self._places
        count, rows, columns = math.prod(y.shape[:-3]), h + m - 1, w + m - 1
        wide = xp.permute_dims(xp.reshape(cast(y, dtype), (count, d, h, w)), (1, 0, 2, 3))
        for axis in (2, 3):
            wide = _with_zeros(wide, axis, m - 1)
        places = [wide[:, :, a : a + rows, b : b + columns] for a in range(m)[::-1] for b in range(m)[::-1]]
        stacked = xp.reshape(xp.stack(places), (m * m * d, count * rows * columns))
        matrix = xp.asarray(self._blocks.T.copy(), dtype=dtype, device=device_of(y))
        with full_precision(y):
            blocks = xp.reshape(matrix @ stacked, (c, s, s, count, rows, columns))
        images = xp.reshape(xp.permute_dims(blocks, (3, 0, 4, 1, 5, 2)), (count, c, rows * s, columns * s))
        for axis, length in ((2, height), (3, width)):
            images = _folded(images, axis, self._before, length)
        return cast(xp.reshape(images, whole), y.dtype)

    def matrix(self, shape: Sequence[int]) -> sparse.csr_array:
        """The linear part on flattened (C, H, W) as a float64 sparse matrix, one row per output value."""
        size = self.in_shape(self.out_shape(shape[-3:]))
        images = np.eye(math.prod(size)).reshape(-1, *size)
        return sparse.csr_array(self(images).reshape(len(images), -1).T)

    @property
    def _before(self) -> int:
        return (self.cells - self.scale) // 2

    @property
    def _places(self) -> int:
        """How many blocks of `scale` a neighbourhood takes along one axis, the last perhaps in part."""
        return -(-self.cells // self.scale)

    @property
    def _after(self) -> int:
        return (self._places - 1) * self.scale - self._before

    def to_bytes(self) -> bytes:
        """The operator as a safetensors file: float64 tensors `weights` and `bias`, and a header with their digests.

        Equal operators make equal bytes. Raises ValueError for what `from_bytes` would refuse.
        """
        if self.weights.size > MAX_VALUES or self.scale > MAX_SCALE:
            raise ValueError(f"{self!r} is too large for a file: {MAX_VALUES} weights and scale {MAX_SCALE} at most")
        head = {"format": FORMAT, "version": VERSION, "scale": self.scale, "digest": self._digest}
        # One metadata key: safetensors writes several in random order.
        metadata = {"fitted_resize": json.dumps(head, sort_keys=True)}
        written: bytes = save({"weights": self.weights.copy(), "bias": self.bias.copy()}, metadata)
        return written

    @classmethod
    def from_bytes(cls, data: bytes) -> FittedResize:
        """The operator in a file that may come from anywhere: nothing is unpickled, everything is checked.

        Raises ValueError: not such a file, of another version, changed, truncated, too large, or not finite.
        """
        head = _header(data)
        scale = Whole(1, MAX_SCALE).load("scale", head["scale"], 1)
        try:
            tensors = load(data)
        except Exception as error:
            raise ValueError(f"no fitted resize: its tensors cannot be read ({error})") from None
        if set(tensors) != {"weights", "bias"} or any(t.dtype != np.float64 for t in tensors.values()):
            raise ValueError("no fitted resize: it must hold float64 weights and bias, and nothing else")
        if tensors["weights"].size > MAX_VALUES:
            raise ValueError(f"no fitted resize: {tensors['weights'].size} weights, more than {MAX_VALUES}")
        read = cls(scale, tensors["weights"], tensors["bias"])
        if head["digest"] != read._digest:
            raise ValueError("the fitted resize was changed after it was written (its digest does not match)")
        return read

    @property
    def _digest(self) -> str:
        return f"{self._weights.digest} {self._bias.digest}"

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write `to_bytes` so that a reader sees the old file or the new one, never a part."""
        goal, data = Path(path), self.to_bytes()
        temporary = goal.with_name(f".{goal.name}.{secrets.token_hex(4)}.tmp")
        try:
            with temporary.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, goal)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> FittedResize:
        """Read a file that `save` wrote; raises ValueError as `from_bytes` does, FileNotFoundError for no file."""
        with Path(path).open("rb") as file:
            data = file.read(MAX_FILE + 1)
        try:
            return cls.from_bytes(data)
        except ValueError as error:
            raise ValueError(f"{Path(path).name}: {error}") from None


def _header(data: bytes) -> dict[str, Any]:
    """The header's fields, of a file whose claims of its own size are true."""
    if len(data) > MAX_FILE:
        raise ValueError(f"no fitted resize: more than {MAX_FILE} bytes")
    length = struct.unpack("<Q", data[:8])[0] if len(data) >= 8 else len(data)
    if length > min(MAX_HEADER, len(data) - 8):
        raise ValueError("no fitted resize: not a safetensors file, or truncated")
    try:
        head = json.loads(json.loads(data[8 : 8 + length])["__metadata__"]["fitted_resize"])
    except (ValueError, LookupError, TypeError, RecursionError):
        raise ValueError("no fitted resize: its header is not that of one") from None
    if not isinstance(head, dict) or head.get("format") != FORMAT:
        raise ValueError("no fitted resize: its header is not that of one")
    if head.get("version") != VERSION:
        raise ValueError(f"fitted resize of version {head.get('version')!r:.20}; this release reads version {VERSION}")
    if set(head) != {"format", "version", "scale", "digest"}:
        raise ValueError("no fitted resize: its header must hold format, version, scale and digest")
    return head


def _in_blocks(weights: np.ndarray, s: int) -> np.ndarray:
    """The weights of every place of an s x s block in a neighbourhood: (places places D, C s s), places row-major."""
    d, c, k, _ = weights.shape
    m = -(-k // s)
    filled = np.pad(weights, ((0, 0), (0, 0), (0, m * s - k), (0, m * s - k)))
    blocks = filled.reshape(d, c, m, s, m, s).transpose(2, 4, 0, 1, 3, 5)
    return np.ascontiguousarray(blocks.reshape(m * m * d, c * s * s))


def _part(x: Array, axis: int, start: int, stop: int) -> Array:
    return x[:, :, start:stop, :] if axis == 2 else x[:, :, :, start:stop]


def _replicated(x: Array, axis: int, before: int, after: int) -> Array:
    length = x.shape[axis]
    first, last = _part(x, axis, 0, 1), _part(x, axis, length - 1, length)
    return array_namespace(x).concat([first] * before + [x] + [last] * after, axis=axis)


def _folded(x: Array, axis: int, before: int, length: int) -> Array:
    """The adjoint of `_replicated` to `length`: what was read beyond a border is added to the pixel on it."""
    xp, total = array_namespace(x), x.shape[axis]
    if length == 1:
        return xp.sum(x, axis=axis, keepdims=True, dtype=x.dtype)
    ends = _part(x, axis, 0, before + 1), _part(x, axis, before + length - 1, total)
    first, last = (xp.sum(end, axis=axis, keepdims=True, dtype=x.dtype) for end in ends)
    return xp.concat([first, _part(x, axis, before + 1, before + length - 1), last], axis=axis)


def _with_zeros(x: Array, axis: int, width: int) -> Array:
    zero = array_namespace(x).zeros_like(_part(x, axis, 0, 1))
    return array_namespace(x).concat([zero] * width + [x] + [zero] * width, axis=axis)
