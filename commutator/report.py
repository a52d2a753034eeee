"""Measuring commutators over samples and times, and asking whether one operator, or one time, has the smaller ones.

The test is Wilcoxon's signed-rank test on paired samples, as in arXiv 2604.09227.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..operators import LinearOperator
from .condition import both_sides, sample_norm
from .fields import Field
from .path import Path
from .signed_rank import SignedRank, signed_rank
from .transport import PerSample, Transport

Array = Any


@dataclass(frozen=True)
class CommutatorReport:
    """Commutator norms of one operator on the states of a trajectory.

    Attributes:
        name: what was measured: the operator's repr.
        times: the K times of the states.
        absolute: Euclidean norms per time and sample, float64 (K, batch).
        relative: the same over the norm of `A x0hat(x, t)`; not finite where that is 0.
    """

    name: str
    times: tuple[float, ...]
    absolute: np.ndarray
    relative: np.ndarray

    @classmethod
    def of(cls, name: str, times: Sequence[float], pairs: Sequence[tuple[Array, Array]]) -> CommutatorReport:
        """The report of `pairs`, one per time: what was transformed last and what was transformed first."""
        absolute = np.asarray([_numbers(sample_norm(first - second)) for first, second in pairs])
        sizes = np.asarray([_numbers(sample_norm(first)) for first, _ in pairs])
        with np.errstate(invalid="ignore", divide="ignore"):
            return cls(name, tuple(float(t) for t in times), absolute, absolute / sizes)

    def norms(self, relative: bool = False) -> np.ndarray:
        """The relative norms or the absolute ones, (K, batch)."""
        return self.relative if relative else self.absolute

    def compare(self, other: CommutatorReport, *, alternative: str = "two-sided", relative: bool = False) -> SignedRank:
        """Are this report's norms smaller than those of `other` on the same samples? Means over time are compared.

        The median difference is self - other; alternative="less" asks whether self is smaller.
        Raises ValueError for different numbers of samples, and as `signed_rank` does.
        """
        mine, theirs = (report.norms(relative).mean(axis=0) for report in (self, other))
        return signed_rank(mine, theirs, (self.name, other.name), alternative)

    def change(
        self, first: int = 0, last: int = -1, *, alternative: str = "two-sided", relative: bool = False
    ) -> SignedRank:
        """Does the norm rise or fall from the state with index `first` to that with index `last`?

        The median difference is last - first; alternative="less" asks whether it falls. The paper's test is from the
        switch to m steps later. Raises ValueError for indices outside the report, and as `signed_rank` does.
        """
        norms, count = self.norms(relative), len(self.times)
        for index in (first, last):
            if not -count <= index < count:
                raise ValueError(f"index {index} is outside a report of {count} times")
        names = tuple(f"t = {self.times[i]:.4g}" for i in (last, first))
        return signed_rank(norms[last], norms[first], (names[0], names[1]), alternative)

    def markdown(self) -> str:
        """A table with a row per time: medians over samples, and their quartiles."""
        lines = [f"{self.name}, {self.absolute.shape[1]} samples", ""]
        lines += ["| t | norm | quartiles | relative | quartiles |", "|---:|---:|---:|---:|---:|"]
        for t, absolute, relative in zip(self.times, self.absolute, self.relative):
            cells = []
            for row in (absolute, relative):
                low, middle, high = np.quantile(row, [0.25, 0.5, 0.75])
                cells += [f"{middle:.4g}", f"{low:.4g} to {high:.4g}"]
            lines.append(f"| {t:.4g} | " + " | ".join(cells) + " |")
        return "\n".join(lines) + "\n"


def _numbers(norms: Array) -> list[float]:
    return [float(norm) for norm in norms]


def measure(
    operator: LinearOperator | PerSample,
    field: Field,
    path: Path,
    states: Sequence[Array],
    times: Sequence[float],
    *,
    time: str = "matched",
) -> CommutatorReport:
    """The commutator norms of `operator` with `field` at states x_k (batch, ..., height, width) and their times t_k.

    Two evaluations of the field per state. Raises ValueError, before the first of them, unless there is one time per
    state, at least one, and all states have one shape; and as `Transport.of` does.
    """
    return measure_each([operator], field, path, states, times, time=time)[0]


def measure_each(
    operators: Sequence[LinearOperator | PerSample],
    field: Field,
    path: Path,
    states: Sequence[Array],
    times: Sequence[float],
    *,
    time: str = "matched",
) -> list[CommutatorReport]:
    """`measure` for several operators, sharing the evaluation at high resolution."""
    if len(states) != len(times) or not states:
        raise ValueError(f"each state needs its time, and one is needed: got {len(states)} states, {len(times)} times")
    if len({tuple(x.shape) for x in states}) > 1:
        raise ValueError("the states of a trajectory have one shape")
    transports = [Transport.of(operator, path, states[0].shape, time) for operator in operators]
    pairs: list[list[tuple[Array, Array]]] = [[] for _ in transports]
    for x, t in zip(states, times):
        high = field.denoised(x, t)
        for transport, column in zip(transports, pairs):
            column.append(both_sides(transport, field, x, t, high))
    return [CommutatorReport.of(repr(op), times, column) for op, column in zip(operators, pairs)]
