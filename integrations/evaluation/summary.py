"""What a ledger amounts to: means and costs by method, differences, the workflow, the frontier, and calibration.

Calibration is the choice of the plan that is best on a model, within a budget.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...commutator import Plan
from .ledger import Ledger
from .methods import Method
from .metrics import METRICS
from .plots import Point, pareto
from .statistics import PairedDifference, compare

CANDIDATES = (4, 8, 16, 32)


@dataclass(frozen=True)
class Line:
    """One method over all pairs.

    Attributes:
        cost: of a preview, in full runs of the final: (high + r low) / N. finish: of finishing one, likewise.
        means: by the name of the metric. speedup: of a preview in wall-clock, where it was timed.
    """

    method: Method
    cost: float
    finish: float
    means: dict[str, float]
    speedup: float | None = None

    def workflow(self, candidates: int) -> float:
        """How many times faster than as many full runs: that many previews, and one of them finished."""
        return candidates / (candidates * self.cost + self.finish)


class Summary:
    """The complete pairs of a ledger, at cost ratios r by scale, for a final of `steps` evaluations."""

    def __init__(self, ledger: Ledger, methods: Sequence[Method], ratios: Mapping[str, float], steps: int) -> None:
        self.pairs = ledger.complete()
        if not self.pairs:
            raise ValueError("no pair has every method yet: there is nothing to sum up")
        self.methods, self.ratios, self.steps = list(methods), dict(ratios), steps
        self.metrics = ledger.metrics
        self.values = {
            m.name: {
                column: np.array([ledger.rows[pair, m.name][column] for pair in range(self.pairs)])
                for column in ("high", "low", "finish", *ledger.metrics)
            }
            for m in self.methods
        }

    def line(self, method: Method, speedup: float | None = None) -> Line:
        """The means of a method."""
        values = self.values[method.name]
        cost = float(np.mean(values["high"] + self._ratio(method) * values["low"])) / self.steps
        finish = float(np.mean(values["finish"])) / self.steps
        return Line(method, cost, finish, {m: float(values[m].mean()) for m in self.metrics}, speedup)

    def _ratio(self, method: Method) -> float:
        if not self.values[method.name]["low"].any():
            return 0.0
        if str(method.scale) not in self.ratios:
            raise ValueError(f"the cost ratio r at scale {method.scale} of {method.name!r} was not measured")
        return self.ratios[str(method.scale)]

    def lines(self, speedups: dict[str, float] | None = None) -> list[Line]:
        """All methods, in their order."""
        return [self.line(method, (speedups or {}).get(method.name)) for method in self.methods]

    def against(self, a: str, b: str, metric: str) -> PairedDifference:
        """Method `a` minus method `b` in a metric, pair by pair: bootstrap interval and Wilcoxon test."""
        values = self.values[a][metric], self.values[b][metric]
        return compare(*values, (a, b), np.random.default_rng(0))

    def points(self, metric: str) -> list[Point]:
        """Cost and quality of every method; quality as the metric gives it."""
        return [Point(line.method.name, line.cost, line.means[metric], line.method.kind) for line in self.lines()]

    def frontier(self, metric: str) -> list[Point]:
        """The methods that none other beats in both."""
        return pareto(self.points(metric), higher=METRICS[metric].better == "higher")


def markdown_table(lines: Sequence[Line], metrics: Sequence[str]) -> str:
    """The table as markdown; a column of speed-ups where any was timed."""
    timed = any(line.speedup is not None for line in lines)
    heads = ["plan", "cost", *(["speed-up"] if timed else []), "16 + 1", *(METRICS[m].title for m in metrics)]
    out = ["| " + " | ".join(heads) + " |", "|---|" + "---:|" * (len(heads) - 1)]
    for line in lines:
        speed = ["" if line.speedup is None else f"{line.speedup:.2f}x"] if timed else []
        cells = [line.method.name, f"{line.cost:.3f}", *speed, f"{line.workflow(16):.2f}x"]
        out.append("| " + " | ".join([*cells, *(METRICS[m].shown(line.means[m]) for m in metrics)]) + " |")
    return "\n".join(out) + "\n"


def workflow_table(lines: Sequence[Line]) -> str:
    """K previews and one finish against K full runs, as markdown."""
    out = ["| plan | finish | " + " | ".join(f"K = {k}" for k in CANDIDATES) + " |", "|---|" + "---:|" * 5]
    for line in lines:
        gains = " | ".join(f"{line.workflow(k):.2f}x" for k in CANDIDATES)
        out.append(f"| {line.method.name} | {line.finish:.2f} | {gains} |")
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
                [line.method.name, line.method.kind, f"{line.cost:.5f}", f"{line.finish:.5f}", speed, *gains, *values]
            )


@dataclass(frozen=True)
class Choice:
    """The best plan of a comparison within a budget.

    Attributes:
        line: of the plan. baseline: a cached run that is better still and within the budget, or None.
        tied: methods whose difference to the best could be chance; the plan is the one of them with the fastest
            workflow of sixteen previews and one finish.
    """

    line: Line
    tied: Sequence[Line]
    baseline: Line | None

    @property
    def plan(self) -> Plan:
        assert self.line.method.plan is not None
        return self.line.method.plan


def affordable(methods: Sequence[Method], budget: float, steps: int) -> list[Method]:
    """Methods that could cost no more than `budget` full runs: those whose high-resolution part alone does not."""
    return [m for m in methods if m.high_evaluations <= budget * steps + 1e-9]


def choose(summary: Summary, budget: float, metric: str) -> Choice:
    """The best method by the mean of `metric` that costs no more than `budget` full runs, as measured.

    Methods whose paired 95% interval to the best includes zero tie with it, and the one with the fastest workflow wins.
    Raises ValueError where nothing is within the budget.
    """
    merit = METRICS[metric].merit

    def worth(line: Line) -> float:
        return float(merit(summary.values[line.method.name][metric]).mean())

    within = [line for line in summary.lines() if line.cost <= budget]
    plans = [line for line in within if line.method.plan is not None]
    if not plans:
        cheapest = min((line.cost for line in summary.lines() if line.method.plan is not None), default=float("nan"))
        raise ValueError(f"no plan costs {budget:g} full runs or less; the cheapest costs {cheapest:.2f}")
    best = max(plans, key=worth)
    tied = [line for line in plans if line is best or _ties(summary, best, line, metric)]
    chosen = max(tied, key=lambda line: line.workflow(16))
    cached = [line for line in within if line.method.cache is not None and worth(line) > worth(chosen)]
    return Choice(chosen, tied, max(cached, key=worth, default=None))


def _ties(summary: Summary, best: Line, other: Line, metric: str) -> bool:
    if summary.pairs < 2:
        return False
    found = summary.against(best.method.name, other.method.name, metric).difference
    return found.low <= 0.0 <= found.high
