"""Named arrays with their digests: written to one file, read again, compared bit by bit and by distance."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save_file


@dataclass(frozen=True)
class Difference:
    """A result that is not what was recorded.

    Attributes:
        why: in words. distance: largest absolute difference over the largest recorded value (at least 1), or None
            where there is none to tell: a missing result, another shape or dtype, or a digest without its array.
    """

    name: str
    why: str
    distance: float | None = None

    def __str__(self) -> str:
        return f"{self.name}: {self.why}"


@dataclass(frozen=True)
class Recording:
    """Results by name.

    Attributes:
        digests: SHA-256 over dtype, shape and bytes, each with dtype and shape in words.
        arrays: the results themselves, or some of them.
        machine: what made them, in words.
    """

    digests: Mapping[str, tuple[str, str]]
    arrays: Mapping[str, np.ndarray]
    machine: str = ""

    @classmethod
    def of(cls, arrays: Mapping[str, np.ndarray], machine: str = "") -> Recording:
        return cls({name: _described(array) for name, array in arrays.items()}, dict(arrays), machine)

    def save(self, path: Path) -> None:
        text = json.dumps({"machine": self.machine, "digests": self.digests}, sort_keys=True)
        save_file({k: np.ascontiguousarray(v) for k, v in self.arrays.items()}, path, {"recording": text})

    def small(self, wanted: Callable[[str], bool], largest: int = 4096) -> Recording:
        """Only results of wanted names, and of these arrays of at most `largest` bytes, float64 as float32."""
        digests = {name: digest for name, digest in self.digests.items() if wanted(name)}
        arrays = {n: a.astype(np.float32) if a.dtype == np.float64 else a for n, a in self.arrays.items() if wanted(n)}
        return Recording(digests, {n: a for n, a in arrays.items() if a.nbytes <= largest}, self.machine)

    @classmethod
    def load(cls, path: Path) -> Recording:
        with safe_open(path, "numpy") as file:
            head = json.loads(file.metadata()["recording"])
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
        return cls({name: (kind, digest) for name, (kind, digest) in head["digests"].items()}, arrays, head["machine"])

    def differences(self, other: Recording) -> list[Difference]:
        """What `other` has otherwise than this recording. Results that only `other` has are none."""
        found = []
        for name, (kind, digest) in self.digests.items():
            if name not in other.digests:
                found.append(Difference(name, "is missing"))
            elif other.digests[name][0] != kind:
                found.append(Difference(name, f"is {other.digests[name][0]}, was {kind}"))
            elif other.digests[name][1] != digest:
                found.append(self._distance(name, other))
        return found

    def _distance(self, name: str, other: Recording) -> Difference:
        if name not in self.arrays or name not in other.arrays:
            return Difference(name, "other bytes; the array was not kept")
        before, after = (np.asarray(r.arrays[name], dtype=np.float64) for r in (self, other))
        largest = float(np.abs(after - before).max())
        distance = largest / max(1.0, float(np.abs(before).max()))
        return Difference(name, f"largest difference {largest:.3g} ({distance:.2g} of the largest value)", distance)


def _described(array: Any) -> tuple[str, str]:
    kind = f"{array.dtype} {tuple(array.shape)}"
    return kind, hashlib.sha256(kind.encode() + np.ascontiguousarray(array).tobytes()).hexdigest()
