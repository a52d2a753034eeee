"""What a folder of results is about, and what was measured of the machine: run.json.

The scores alone do not say which model, settings and prompts they belong to. A run that goes on in the folder must be
about the same, or its table would be the mean of two comparisons.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import Refusal
from .entries import Pair


@dataclass
class RunRecord:
    """One run.json.

    Attributes:
        model: fingerprint of the pipeline. call: arguments of the plain final, as text. pairs: prompts and seeds.
        ratios: r by scale, seconds of a low-resolution evaluation over those of a high-resolution one.
        speedups: by entry.
    """

    path: Path
    model: str
    call: dict[str, str]
    pairs: list[Pair]
    ratios: dict[str, float] = field(default_factory=dict)
    speedups: dict[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, path: Path, model: str, call: Mapping[str, Any], pairs: Sequence[Pair], scored: bool) -> RunRecord:
        """The record of a run about these, with what `path` holds already; `scored`: whether there are scores.

        Raises:
            Refusal: the file is about another model, other settings or other pairs, is damaged, or is gone.
        """
        asked = cls(path, model, {name: repr(value) for name, value in sorted(call.items())}, list(pairs))
        if not path.exists():
            if scored:
                raise Refusal(f"{path} is gone: what the scores beside it are about is not known; give another folder")
            return asked
        found = cls._read(path)
        if found.model != asked.model:
            raise Refusal(f"{path.parent} holds a comparison of another model; give another folder")
        changed = [n for n in sorted(found.call.keys() | asked.call.keys()) if found.call.get(n) != asked.call.get(n)]
        if changed:
            raise Refusal(f"{path.parent} holds a comparison with another {changed[0]}; give another folder")
        common = min(len(found.pairs), len(asked.pairs))
        if found.pairs[:common] != asked.pairs[:common]:
            raise Refusal(f"{path.parent} holds a comparison of other prompts or seeds; give another folder")
        asked.pairs = max(found.pairs, asked.pairs, key=len)
        asked.ratios, asked.speedups = found.ratios, found.speedups
        return asked

    def write(self) -> None:
        """Written whole or not at all."""
        data = {
            "model": self.model,
            "call": self.call,
            "ratios": self.ratios,
            "speedups": self.speedups,
            "pairs": [[pair.prompt, pair.seed] for pair in self.pairs],
        }
        self.path.parent.mkdir(parents=True, exist_ok=True)
        part = self.path.with_suffix(".part")
        part.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
        part.replace(self.path)

    @classmethod
    def _read(cls, path: Path) -> RunRecord:
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
            return cls(
                path,
                str(data["model"]),
                {str(k): str(v) for k, v in data["call"].items()},
                [Pair(str(prompt), int(seed)) for prompt, seed in data["pairs"]],
                {str(k): float(v) for k, v in data["ratios"].items()},
                {str(k): float(v) for k, v in data["speedups"].items()},
            )
        except (ValueError, TypeError, KeyError, AttributeError):
            raise Refusal(f"{path} is not what a comparison wrote; remove it or give another folder") from None
