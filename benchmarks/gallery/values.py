"""The measured norms: kept in a CSV file, shown as the tables of the pages."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from .families import Entry

COLUMNS = ("seed", "page", "operator", "step", "time", "norm", "naive")
Key = tuple[int, str, str, int]  # seed, page, operator, step


@dataclass
class Values:
    """Relative commutator norms (right, naive), naive nan where it is the same; times by step."""

    norms: dict[Key, tuple[float, float]] = field(default_factory=dict)
    times: dict[int, float] = field(default_factory=dict)

    @classmethod
    def load(cls, path: Path) -> Values:
        values = cls()
        with path.open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                key = int(row["seed"]), row["page"], row["operator"], int(row["step"])
                values.norms[key] = float(row["norm"]), float(row["naive"])
                values.times[key[3]] = float(row["time"])
        return values

    def save(self, path: Path) -> None:
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(COLUMNS)
            for (*key, step), (right, naive) in self.norms.items():
                writer.writerow((*key, step, f"{self.times[step]:.6f}", f"{right:.6f}", f"{naive:.6f}"))

    def markdown(self, page: str, entries: Sequence[Entry], seeds: Sequence[int], steps: Sequence[int]) -> str:
        """Means over `seeds`; naive columns only where some operator needs them."""
        labels = [entry.label for entry in entries if entry.measured]
        means = {
            label: np.mean([[self.norms[seed, page, label, step] for step in steps] for seed in seeds], axis=0)
            for label in labels
        }
        naive = any(not np.isnan(rows[:, 1]).all() for rows in means.values())
        heads = [f"step {s}" for s in steps] + ([f"naive, {s}" for s in steps] if naive else [])
        lines = ["| operator | " + " | ".join(heads) + " |", "|---|" + "---:|" * len(heads)]
        for label, rows in means.items():
            shown = [*rows[:, 0], *(rows[:, 1] if naive else ())]
            cells = ["same" if np.isnan(v) else f"{v:.3f}" for v in shown]
            lines.append(f"| `{label}` | " + " | ".join(cells) + " |")
        return "\n".join(lines)
