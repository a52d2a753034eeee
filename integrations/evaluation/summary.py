"""What a ledger amounts to: means and costs by entry, paired comparisons, the workflow, and the frontier."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .entries import Entry
from .frontier import Point, pareto
from .ledger import Ledger
from .registry import METRICS
from .statistics import Comparison, compare

CANDIDATES = (4, 8, 16, 32)


@dataclass(frozen=True)
class Line:
    """One entry over all pairs.

    Attributes:
        cost: of a preview, in full runs of the final: (high + r low) / N. finish: of finishing one, likewise.
        means: by the name of the metric. speedup: of a preview in wall-clock, where it was timed.
    """

    entry: Entry
    cost: float
    finish: float
    means: dict[str, float]
    speedup: float | None = None

    def workflow(self, candidates: int) -> float:
        """How many times faster than as many full runs: that many previews, and one of them finished."""
        return candidates / (candidates * self.cost + self.finish)


class Summary:
    """The complete pairs of a ledger, at cost ratios r by scale, for a final of `steps` evaluations."""

    def __init__(self, ledger: Ledger, entries: Sequence[Entry], ratios: Mapping[str, float], steps: int) -> None:
        self.pairs = ledger.complete()
        if not self.pairs:
            raise ValueError("no pair has every entry yet: there is nothing to sum up")
        self.entries, self.ratios, self.steps = list(entries), dict(ratios), steps
        self.metrics = ledger.metrics
        self.values = {
            e.name: {
                column: np.array([ledger.rows[pair, e.name][column] for pair in range(self.pairs)])
                for column in ("high", "low", "finish", *ledger.metrics)
            }
            for e in self.entries
        }

    def line(self, entry: Entry, speedup: float | None = None) -> Line:
        """The means of an entry."""
        values = self.values[entry.name]
        cost = float(np.mean(values["high"] + self._ratio(entry) * values["low"])) / self.steps
        finish = float(np.mean(values["finish"])) / self.steps
        return Line(entry, cost, finish, {m: float(values[m].mean()) for m in self.metrics}, speedup)

    def _ratio(self, entry: Entry) -> float:
        if not self.values[entry.name]["low"].any():
            return 0.0
        if str(entry.scale) not in self.ratios:
            raise ValueError(f"the cost ratio r at scale {entry.scale} of {entry.name!r} was not measured")
        return self.ratios[str(entry.scale)]

    def lines(self, speedups: dict[str, float] | None = None) -> list[Line]:
        """All entries, in their order."""
        return [self.line(entry, (speedups or {}).get(entry.name)) for entry in self.entries]

    def against(self, a: str, b: str, metric: str) -> Comparison:
        """Entry `a` minus entry `b` in a metric, pair by pair: bootstrap interval and Wilcoxon test."""
        values = self.values[a][metric], self.values[b][metric]
        return compare(*values, (a, b), np.random.default_rng(0))

    def points(self, metric: str) -> list[Point]:
        """Cost and quality of every entry; quality as the metric gives it."""
        return [Point(line.entry.name, line.cost, line.means[metric], line.entry.kind) for line in self.lines()]

    def frontier(self, metric: str) -> list[Point]:
        """The entries that none other beats in both."""
        return pareto(self.points(metric), higher=METRICS[metric].better == "higher")


def markdown_table(lines: Sequence[Line], metrics: Sequence[str]) -> str:
    """The table as markdown; a column of speed-ups where any was timed."""
    timed = any(line.speedup is not None for line in lines)
    heads = ["plan", "cost", *(["speed-up"] if timed else []), "16 + 1", *(METRICS[m].title for m in metrics)]
    out = ["| " + " | ".join(heads) + " |", "|---|" + "---:|" * (len(heads) - 1)]
    for line in lines:
        speed = ["" if line.speedup is None else f"{line.speedup:.2f}x"] if timed else []
        cells = [line.entry.name, f"{line.cost:.3f}", *speed, f"{line.workflow(16):.2f}x"]
        out.append("| " + " | ".join([*cells, *(METRICS[m].shown(line.means[m]) for m in metrics)]) + " |")
    return "\n".join(out) + "\n"


def workflow_table(lines: Sequence[Line]) -> str:
    """K previews and one finish against K full runs, as markdown."""
    out = ["| plan | finish | " + " | ".join(f"K = {k}" for k in CANDIDATES) + " |", "|---|" + "---:|" * 5]
    for line in lines:
        gains = " | ".join(f"{line.workflow(k):.2f}x" for k in CANDIDATES)
        out.append(f"| {line.entry.name} | {line.finish:.2f} | {gains} |")
    return "\n".join(out) + "\n"


def write_csv(lines: Sequence[Line], metrics: Sequence[str], path: Path) -> None:
    """The table as CSV, unrounded."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["plan", "kind", "cost", "finish", "speedup", *(f"workflow_{k}" for k in CANDIDATES), *metrics])
        for line in lines:
            gains = [f"{line.workflow(k):.4f}" for k in CANDIDATES]
            speed = "" if line.speedup is None else f"{line.speedup:.3f}"
            values = [f"{line.means[m]:.6g}" for m in metrics]
            writer.writerow(
                [line.entry.name, line.entry.kind, f"{line.cost:.5f}", f"{line.finish:.5f}", speed, *gains, *values]
            )
