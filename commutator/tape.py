"""The tape: a recorded high-resolution head on disk, from which a finish continues bit for bit.

A tape is a safetensors file with a JSON header in its metadata. It comes from outside as far as a reader knows: nothing
is unpickled, every field is checked, and a digest over header and tensors tells a changed or truncated file.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import TapeError
from ..operators.arrays import Array
from .atomic import write_atomically

FORMAT = "commutant-tape"
VERSION = 1
_LIMIT = 16 * 2**20  # of the header, in bytes: a request with a long prompt is a few kilobytes
_FAR = 1e30  # beyond any time of any path; keeps infinities and integers that no float can hold out


@dataclass(frozen=True)
class Tape:
    """A recorded head of one image, or of a batch that is finished together.

    Attributes:
        outputs: raw model outputs of the first evaluations, as the solver consumed them, in the pipeline's own latent
            layout, each (1, ...), or (batch, ...).
        noise: the state at the first step, same layout.
        state: the state at the switch.
        times: the schedule the head ran on.
        header: JSON values that say what the tape belongs to: model fingerprint, prompt hash, solver, size, plan.
        rng: the state of the image's random generator before the run, one byte per element, or None.
    """

    outputs: tuple[Array, ...]
    noise: Array
    state: Array
    times: tuple[float, ...]
    header: Mapping[str, Any] = field(default_factory=dict)
    rng: Array | None = None

    @property
    def recorded(self) -> int:
        """How many evaluations a finish need not make again."""
        return len(self.outputs)

    def save(self, path: str | os.PathLike[str]) -> str:
        """Write the tape atomically; returns the SHA-256 of the file, in hex.

        Raises TapeError for tensors that `load` would refuse.
        """
        tensors = {f"output.{i:04d}": _plain(o) for i, o in enumerate(self.outputs)}
        tensors |= {"noise": _plain(self.noise), "state": _plain(self.state)}
        if self.rng is not None:
            tensors["rng"] = _plain(self.rng)
        _outputs(tensors, Path(path).name)
        head = {"format": FORMAT, "version": VERSION, "times": list(self.times), "header": dict(self.header)}
        text = json.dumps(head, sort_keys=True, allow_nan=False)
        # One metadata key: safetensors writes several in random order, and equal tapes shall be equal files.
        data = _serialise(tensors, {"tape": f"{_digest(text, tensors)} {text}"})
        write_atomically(Path(path), data)
        return hashlib.sha256(data).hexdigest()

    @classmethod
    def load(cls, path: str | os.PathLike[str], *, framework: str = "numpy") -> Tape:
        """Read and validate a tape. `framework` is "numpy" or "torch" (needed for bfloat16).

        Raises:
            TapeError: not a safetensors file, not a tape, of another version, changed, truncated or with odd tensors.
            ValueError: another framework.
            FileNotFoundError: no such file.
        """
        read = _reader(framework)
        raw, name = Path(path).read_bytes(), Path(path).name
        metadata = _metadata(raw, name)
        try:
            tensors = read(raw)
        except Exception as error:
            raise TapeError(f"{name}: its tensors cannot be read ({error})") from None
        if not isinstance(metadata.get("tape"), str):
            raise TapeError(f"{name}: a safetensors file, but no tape")
        digest, _, text = metadata["tape"].partition(" ")
        if digest != _digest(text, tensors):
            raise TapeError(f"{name}: the tape was changed after it was written (its digest does not match)")
        times, header = _parsed(text, name)
        outputs = _outputs(tensors, name)
        return cls(outputs, tensors["noise"], tensors["state"], times, header, tensors.get("rng"))


def _metadata(raw: bytes, name: str) -> dict[str, Any]:
    if len(raw) < 8:
        raise TapeError(f"{name}: truncated: {len(raw)} bytes")
    (length,) = struct.unpack("<Q", raw[:8])
    if length > min(_LIMIT, len(raw) - 8):
        raise TapeError(f"{name}: not a safetensors file, or truncated")
    try:
        header = json.loads(raw[8 : 8 + length])
        metadata = header.get("__metadata__", {})
    except (ValueError, AttributeError, RecursionError):
        raise TapeError(f"{name}: not a safetensors file (its header is no JSON object)") from None
    if not isinstance(metadata, dict):
        raise TapeError(f"{name}: a safetensors file, but no tape")
    return metadata


def _parsed(text: str, name: str) -> tuple[tuple[float, ...], dict[str, Any]]:
    """The schedule and the caller's header."""
    try:
        head = json.loads(text)
    except (ValueError, RecursionError):
        raise TapeError(f"{name}: the tape's header is no JSON") from None
    if not isinstance(head, dict) or head.get("format") != FORMAT:
        raise TapeError(f"{name}: a safetensors file, but no tape")
    if head.get("version") != VERSION:
        raise TapeError(f"{name}: tape version {head.get('version')!r}; this release reads version {VERSION}")
    times = head.get("times")
    if not isinstance(times, list) or not all(type(t) in (int, float) and abs(t) < _FAR for t in times):
        raise TapeError(f"{name}: the tape's schedule is no list of finite numbers")
    if not isinstance(head.get("header"), dict):
        raise TapeError(f"{name}: the tape's header is no object")
    return tuple(float(t) for t in times), head["header"]


def _outputs(tensors: Mapping[str, Array], name: str) -> tuple[Array, ...]:
    """The recorded outputs in order, after checking that the tensors are those of one head."""
    keys = sorted(k for k in tensors if k.startswith("output."))
    if keys != [f"output.{i:04d}" for i in range(len(keys))]:
        raise TapeError(f"{name}: recorded outputs are missing from the sequence")
    expected = {*keys, "noise", "state"}
    if set(tensors) - {"rng"} != expected:
        raise TapeError(f"{name}: holds the tensors {sorted(tensors)}, a tape holds {sorted(expected)} and maybe rng")
    if any(tensors[k].shape != tensors["noise"].shape for k in expected):
        raise TapeError(f"{name}: its states and outputs differ in shape")
    outputs = tuple(tensors[k] for k in keys)
    if any(o.dtype != outputs[0].dtype for o in outputs):
        raise TapeError(f"{name}: its outputs differ in dtype")
    if "rng" in tensors and (len(tensors["rng"].shape) != 1 or _dtype(tensors["rng"]) != "uint8"):
        raise TapeError(f"{name}: the state of a random generator must be a list of bytes")
    return outputs


def _is_torch(array: Array) -> bool:
    return type(array).__module__.split(".")[0] == "torch"


def _dtype(array: Array) -> str:
    """The dtype's name, the same in numpy and torch."""
    return str(array.dtype).removeprefix("torch.")


def _plain(array: Array) -> Array:
    """A copy on the host, contiguous, in native byte order.

    safetensors writes the memory of a numpy array as it lies, views included, and refuses tensors that share memory, as
    the noise and the state of switch 0 do.
    """
    if _is_torch(array):
        return array.detach().cpu().contiguous().clone()
    return np.array(array, dtype=array.dtype.newbyteorder("="), order="C")


def _bytes(array: Array) -> bytes:
    if _is_torch(array):
        import torch

        array = array.reshape(-1).view(torch.uint8).numpy()
    return array.tobytes()


def _digest(text: str, tensors: Mapping[str, Array]) -> str:
    digest = hashlib.sha256(text.encode())
    for key in sorted(tensors):
        array = tensors[key]
        described = f"{key}:{tuple(array.shape)}:{_dtype(array)}"
        digest.update(described.encode())
        digest.update(_bytes(array))
    return digest.hexdigest()


def _serialise(tensors: dict[str, Array], metadata: dict[str, str]) -> bytes:
    if any(_is_torch(t) for t in tensors.values()):
        from safetensors.torch import save as save_torch

        return save_torch(tensors, metadata)
    from safetensors.numpy import save as save_numpy

    return save_numpy(tensors, metadata)


def _reader(framework: str) -> Callable[[bytes], dict[str, Array]]:
    if framework == "torch":
        from safetensors.torch import load as load_torch

        return load_torch
    if framework == "numpy":
        from safetensors.numpy import load as load_numpy

        return load_numpy
    raise ValueError(f"framework must be 'numpy' or 'torch', got {framework!r}")
