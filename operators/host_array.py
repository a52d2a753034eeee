"""An array that is part of an operator: read-only, compared by content, saved as text."""

from __future__ import annotations

import base64
import hashlib
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

MAX_VALUES = 2**22  # keeps a hostile header from asking for absurd sizes
SAVED = {"float32": "<f4", "float64": "<f8", "int64": "<i8"}


class HostArray:
    """A copy of an array in float64 or int64, on the host. Equal values make equal arrays, with equal hashes.

    `str(array)` is `<8x8 flow 0123abcd>`: its size, its `name` and the first digits of its SHA-256. Raises ValueError
    for what is no array of finite real numbers.
    """

    def __init__(self, name: str, values: Any, dtype: type = np.float64):
        self.name = name
        self.values = _read(name, values, dtype)
        self.digest = hashlib.sha256(repr(self.values.shape).encode() + self.values.tobytes()).hexdigest()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, HostArray) and (self.name, self.digest) == (other.name, other.digest)

    def __hash__(self) -> int:
        return hash((self.name, self.digest))

    def __reduce__(self) -> tuple[type, tuple[str, np.ndarray, type]]:
        return HostArray, (self.name, self.values, self.values.dtype.type)  # read-only again on the other side

    def __str__(self) -> str:
        return f"<{'x'.join(map(str, self.values.shape[:2]))} {self.name} {self.digest[:8]}>"

    def to_config(self) -> dict[str, Any]:
        """A JSON-able form: base64 of little-endian values, float32 where that holds them exactly.

        Raises ValueError for more than MAX_VALUES values, which would not be read back.
        """
        values, kind = self.values, self.values.dtype.name
        if values.size > MAX_VALUES:
            raise ValueError(f"{self} has {values.size} values; the saved form takes {MAX_VALUES} at most")
        if kind == "float64" and np.array_equal(narrow := _narrowed(values), values):
            values, kind = narrow, "float32"
        data = base64.b64encode(values.astype(SAVED[kind]).tobytes()).decode("ascii")
        return {"shape": list(values.shape), "dtype": kind, "data": data}

    @classmethod
    def from_config(cls, name: str, config: object, dims: int, dtypes: Sequence[str]) -> HostArray:
        """The array of `dims` dims that an untrusted dict describes; raises ValueError on anything unexpected."""
        if not isinstance(config, dict) or set(config) != {"shape", "dtype", "data"}:
            raise ValueError(f"{name} must be a dict of exactly the fields shape, dtype and data")
        shape, kind, data = config["shape"], config["dtype"], config["data"]
        if not isinstance(shape, list | tuple) or len(shape) != dims:
            raise ValueError(f"the shape of {name} must be a list of {dims} integers")
        if not all(type(n) is int and 1 <= n <= MAX_VALUES for n in shape):
            raise ValueError(f"each side of {name} must be an integer from 1 to {MAX_VALUES}")
        count = math.prod(shape)
        if count > MAX_VALUES:
            raise ValueError(f"{name} must have at most {MAX_VALUES} values, not {count}")
        if not isinstance(kind, str) or kind not in dtypes:
            raise ValueError(f"the dtype of {name} must be one of {', '.join(dtypes)}")
        dtype = np.dtype(SAVED[kind])
        if not isinstance(data, str) or len(data) != 4 * -(-count * dtype.itemsize // 3):
            raise ValueError(f"the data of {name} must be base64 of {count} values")
        values = np.frombuffer(base64.b64decode(data, validate=True), dtype)
        if len(values) != count:
            raise ValueError(f"the data of {name} must be base64 of {count} values, not {len(values)}")
        return cls(name, values.reshape(shape), np.int64 if dtype.kind == "i" else np.float64)


def _read(name: str, values: Any, dtype: type) -> np.ndarray:
    if hasattr(values, "detach"):  # a torch tensor, perhaps on an accelerator or in a graph
        values = values.detach().cpu()
        values = values.double() if values.is_floating_point() else values
    try:
        given = np.asarray(values)
        if given.dtype.kind not in ("iu" if dtype is np.int64 else "iuf"):
            raise TypeError
        read = np.asarray(np.array(given, dtype=dtype) + dtype(0))  # one zero, not two: equal values, equal bytes
    except (TypeError, ValueError) as error:
        kind = "integers" if dtype is np.int64 else "real numbers"
        raise ValueError(f"{name} must be an array of {kind}") from error
    if not np.isfinite(read).all():
        raise ValueError(f"{name} must be finite")
    read.flags.writeable = False
    return read


def _narrowed(values: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        return values.astype(np.float32)
