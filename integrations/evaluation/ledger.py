"""What a comparison has found so far, on disk: a row per pair and method, a few images, and what the run is about.

scores.csv is written pair by pair, so that a long comparison that is stopped goes on where it was. The scores alone do
not say which model, settings and prompts they belong to: run.json does, because a run that goes on in the folder must
be about the same, or its table would be the mean of two comparisons.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...commutator.atomic import write_atomically
from ...errors import Refusal
from .methods import Pair

COUNTS = ("high", "low", "finish")  # columns of scores.csv after "pair" and "entry", the name of the method


@dataclass(frozen=True)
class Outcome:
    """One method on one pair.

    Attributes:
        high, low: guided evaluations that the preview costs at both resolutions, made from scratch.
        finish: guided evaluations that finishing it costs.
        scores: by the name of the metric. image: the preview.
    """

    pair: int
    method: str
    high: float
    low: float
    finish: float
    scores: Mapping[str, float]
    image: Any = field(repr=False, compare=False, default=None)


class Ledger:
    """The rows of a comparison in `folder`/scores.csv.

    Args:
        methods, metrics: names; a file with others belongs to another comparison.
        shown: of how many pairs the images are kept, as PNG in `folder`/images.

    Raises:
        Refusal: a file of another comparison, or one that holds no numbers where numbers belong.
    """

    def __init__(self, folder: Path, methods: Sequence[str], metrics: Sequence[str], shown: int = 6) -> None:
        self.folder, self.methods, self.metrics, self.shown = folder, list(methods), list(metrics), shown
        self.path = folder / "scores.csv"
        self.columns = ["pair", "entry", *COUNTS, *self.metrics]
        self.rows: dict[tuple[int, str], dict[str, float]] = {}
        if self.path.exists():
            self._read()

    def complete(self) -> int:
        """How many pairs, from the first, have every method."""
        pair = 0
        while all((pair, method) in self.rows for method in self.methods):
            pair += 1
        return pair

    def add(self, outcomes: Iterable[Outcome]) -> None:
        """Write rows, and the images of the first pairs."""
        self.folder.mkdir(parents=True, exist_ok=True)
        fresh = not self.path.exists()
        with self.path.open("a", newline="") as file:
            writer = csv.writer(file)
            if fresh:
                writer.writerow(self.columns)
            for outcome in outcomes:
                if outcome.pair < self.shown and outcome.image is not None:
                    self.image_path(outcome.pair, outcome.method).parent.mkdir(exist_ok=True)
                    outcome.image.save(self.image_path(outcome.pair, outcome.method))
                if not outcome.scores:
                    continue
                values = {**{c: getattr(outcome, c) for c in COUNTS}, **outcome.scores}
                written = {c: f"{values[c]:.6g}" for c in self.columns[2:]}
                # As a reader of the file will have them: going on gives the same sums as not having stopped.
                self.rows[outcome.pair, outcome.method] = {c: float(v) for c, v in written.items()}
                writer.writerow([outcome.pair, outcome.method, *written.values()])
                file.flush()

    def image_path(self, pair: int, method: str) -> Path:
        """Where the preview of a pair by a method is kept."""
        safe = "".join(c if c.isalnum() else "-" for c in method)
        return self.folder / "images" / f"{pair:03d}-{safe}.png"

    def _read(self) -> None:
        text = self.path.read_text()
        whole = text[: text.rfind("\n") + 1]
        if whole != text:  # the run was stopped while it wrote the last line: that method is made again
            write_atomically(self.path, whole.encode())
        reader = csv.DictReader(whole.splitlines())
        if reader.fieldnames != self.columns:
            raise Refusal(f"{self.path} holds another comparison (other columns); give another folder")
        for line, row in enumerate(reader, 2):
            if row["entry"] not in self.methods:
                raise Refusal(f"{self.path} holds another comparison ({row['entry']!r:.80}); give another folder")
            try:
                pair, values = int(row["pair"]), {c: float(row[c]) for c in self.columns[2:]}
            except (TypeError, ValueError):
                raise Refusal(f"{self.path} line {line} is no row of numbers") from None
            if pair < 0 or not all(math.isfinite(v) for v in values.values()):
                raise Refusal(f"{self.path} line {line} is out of range")
            self.rows[pair, row["entry"]] = values


@dataclass
class RunRecord:
    """One run.json.

    Attributes:
        model: fingerprint of the pipeline. call: arguments of the plain final, as text. pairs: prompts and seeds.
        ratios: r by scale, seconds of a low-resolution evaluation over those of a high-resolution one.
        speedups: by method.
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
        write_atomically(self.path, (json.dumps(data, indent=1) + "\n").encode())

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
