"""Which plan is best on a model, within a budget."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ...commutator import Plan
from .entries import Entry
from .registry import METRICS
from .summary import Line, Summary


@dataclass(frozen=True)
class Choice:
    """The best plan of a comparison within a budget.

    Attributes:
        line: of the plan. rival: a cached run that is better still and within the budget, or None.
        tied: entries whose difference to the best could be chance; the plan is the one of them with the fastest
            workflow of sixteen previews and one finish.
    """

    line: Line
    tied: Sequence[Line]
    rival: Line | None

    @property
    def plan(self) -> Plan:
        assert self.line.entry.plan is not None
        return self.line.entry.plan


def affordable(entries: Sequence[Entry], budget: float, steps: int) -> list[Entry]:
    """Entries that could cost no more than `budget` full runs: those whose high-resolution part alone does not."""
    return [e for e in entries if e.plan is None or e.plan.high_evaluations <= budget * steps + 1e-9]


def choose(summary: Summary, budget: float, metric: str) -> Choice:
    """The best entry by the mean of `metric` that costs no more than `budget` full runs, as measured.

    Entries whose paired 95% interval to the best includes zero tie with it, and the one with the fastest workflow wins.
    Raises ValueError where nothing is within the budget.
    """
    merit = METRICS[metric].merit

    def worth(line: Line) -> float:
        return float(merit(summary.values[line.entry.name][metric]).mean())

    within = [line for line in summary.lines() if line.cost <= budget]
    plans = [line for line in within if line.entry.plan is not None]
    if not plans:
        cheapest = min((line.cost for line in summary.lines() if line.entry.plan is not None), default=float("nan"))
        raise ValueError(f"no plan costs {budget:g} full runs or less; the cheapest costs {cheapest:.2f}")
    best = max(plans, key=worth)
    tied = [line for line in plans if line is best or _ties(summary, best, line, metric)]
    chosen = max(tied, key=lambda line: line.workflow(16))
    cached = [line for line in within if line.entry.cache is not None and worth(line) > worth(chosen)]
    return Choice(chosen, tied, max(cached, key=worth, default=None))


def _ties(summary: Summary, best: Line, other: Line, metric: str) -> bool:
    if summary.pairs < 2:
        return False
    found = summary.against(best.entry.name, other.entry.name, metric).difference
    return found.low <= 0.0 <= found.high
