"""Commutators measured over samples and times, with significance tests: on a trajectory, or along a driven plan.

Does one operator, or one time, have the smaller commutators, and do they rise or fall after the switch, with guidance
and without? The test is Wilcoxon's signed-rank test on paired samples, as in arXiv 2604.09227.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..operators import LinearOperator
from ..operators.arrays import Array
from .condition import both_sides, sample_norm
from .conversation import Advance, Conversation, run_stage
from .euler import drive, euler_step, record
from .fields import Field
from .path import Path
from .plan import Plan
from .steps import stage_times
from .transport import PerSample, Transport

ALTERNATIVES = ("two-sided", "less", "greater")
FORMS = ("denoised", "output")


@dataclass(frozen=True)
class SignedRank:
    """What the test says of paired samples a and b.

    Attributes:
        statistic: the rank sum of the positive differences a - b (one-sided), or the smaller of both sums (two-sided).
        p_value: the chance of a statistic as extreme if the differences were symmetric around 0.
        median_difference: median of a - b.
        smaller: the name of the smaller one by the median, or None where it is 0.
    """

    statistic: float
    p_value: float
    median_difference: float
    smaller: str | None


def signed_rank(a: np.ndarray, b: np.ndarray, names: tuple[str, str], alternative: str = "two-sided") -> SignedRank:
    """Wilcoxon's signed-rank test for paired a and b, each (n,), in one unit, called `names`.

    alternative="less" asks whether a is smaller, "greater" whether it is larger, "two-sided" whether they differ. Zero
    differences are left out (Wilcoxon's rule); where all are zero nothing speaks against equality, and p is 1.
    Raises ValueError for different counts, values that are not finite, or another alternative.
    Source: Wilcoxon 1945, as computed by `scipy.stats.wilcoxon`.
    """
    if alternative not in ALTERNATIVES:
        raise ValueError(f"alternative must be one of {ALTERNATIVES}, got {alternative!r}")
    if a.shape != b.shape:
        raise ValueError(f"paired samples are needed: got {a.shape[0]} and {b.shape[0]}")
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise ValueError("a norm is not finite (a relative norm where A x0hat is 0): compare absolute norms")
    difference = a - b
    median = float(np.median(difference))
    if not difference.any():
        return SignedRank(0.0, 1.0, 0.0, None)

    from scipy.stats import wilcoxon

    # Left out here: with zeros, older releases of scipy approximate the p-value of small samples by a normal one.
    test = wilcoxon(difference[difference != 0], alternative=alternative)
    smaller = names[median > 0] if median else None
    return SignedRank(float(test.statistic), float(test.pvalue), median, smaller)


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
        """The relative norms or the absolute ones, float64 (K, batch)."""
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


def commutator_report(
    operator: LinearOperator | PerSample,
    field: Field,
    path: Path,
    states: Sequence[Array],
    times: Sequence[float],
    *,
    time: str = "matched",
) -> CommutatorReport:
    """The commutator norms of one operator on the states of a trajectory. Two evaluations of the field per state.

    Args:
        operator: a linear operator, or one chosen per sample.
        field: the model.
        path: its probability path.
        states: K states, each (batch, ..., height, width).
        times: their K times, in the unit of the path.
        time: "matched" or "same", as `commutator` takes it.

    Raises:
        ValueError: before any evaluation: not one time per state, no state, states of several shapes, an operator or
            a `time` that `commutator` refuses.
    """
    return commutator_reports([operator], field, path, states, times, time=time)[0]


def commutator_reports(
    operators: Sequence[LinearOperator | PerSample],
    field: Field,
    path: Path,
    states: Sequence[Array],
    times: Sequence[float],
    *,
    time: str = "matched",
) -> list[CommutatorReport]:
    """`commutator_report` of each operator, in their order, sharing the evaluations at high resolution.

    Arguments and errors as `commutator_report`; 1 + len(operators) evaluations of the field per state.
    """
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


def guided_report(
    plan: Plan, path: Path, field: Field, noise: Array, times: Sequence[float], *, form: str = "denoised"
) -> CommutatorReport:
    """How far the plan's low-resolution run y is from the answers of the high-resolution run x that goes on beside it.

    Both run with Euler steps, x on `times`, y on the matched ones; y_k is the state that the solver leaves at step k,
    after guidance has moved it, and the field is evaluated again there. With D the switch, at k = D .. N - 1:

        denoised   A x0hat(x_k, t_k) - x0hat(y_k, t'_k)
        output     the same in the path's own prediction: on a rectified flow with gain 1, A v(x_k, t_k) - v(y_k, t_k)

    At k = D without guidance this is the commutator; later it includes that y has moved away from c A x. The paper's
    statement (arXiv 2604.09227) is that `change(last=m)` rises without guidance and falls with it.

    Args:
        plan: what is driven, with guidance or without.
        path: the field's probability path.
        field: the model.
        noise: the state at times[0], (batch, ..., height, width).
        times: the N + 1 decreasing times of the final, in the unit of the path.
        form: "denoised" or "output".

    Returns:
        The report at the N - D times from the switch on, named after the plan.

    Raises:
        ValueError: another form, a plan without one stage of steps=None alone, and as `euler.preview` does.
    """
    if form not in FORMS:
        raise ValueError(f"form must be one of {FORMS}, got {form!r}")
    if len(plan.stages) != 1 or plan.scale == 1:
        raise ValueError(f"the report needs a plan of one stage at a lower resolution, {plan.name!r} has other stages")
    stage = plan.stages[0]
    if stage.steps not in (None, len(times) - 1 - plan.head):
        raise ValueError(f"a stage of {stage.steps} steps has no matched high-resolution times: use steps=None")
    recorded, _ = record(plan, path, field, noise, times)
    candidates, left = stage.candidates(plan.scale_before(0)), list[Array]()
    move = Transport.of(candidates[0], path, tuple(recorded.state.shape), stage.time)
    lows = stage_times(move, times, recorded.switch, None)
    _, _, _, transport = drive(_watched(run_stage(stage, candidates, path, recorded, lows), left), path, field, lows)
    assert isinstance(transport, Transport), "a stage of another scale enters its resolution"

    x, pairs = recorded.state, []
    for k, (y, low) in enumerate(zip(left, lows)):
        t = times[recorded.switch + k]
        denoised = field.denoised(x, t)
        output, answer = path.output(denoised, x, t), field.denoised(y, low)
        if form == "denoised":
            pairs.append((transport.operator(denoised), answer))
        else:
            pairs.append((transport.output(output, x, t), path.output(answer, y, low)))
        x = euler_step(path, output, x, t, times[recorded.switch + k + 1])
    guided = f", {stage.guidance.kind} guidance" if stage.guidance else ""
    return CommutatorReport.of(f"{plan.name}: {stage.operator}{guided}", times[recorded.switch : -1], pairs)


def _watched(conversation: Conversation, left: list[Array]) -> Conversation:
    """The same conversation; the states that the solver leaves are noted."""
    reply: Any = None
    while True:
        try:
            request = conversation.send(reply)
        except StopIteration as stop:
            return stop.value
        if isinstance(request, Advance):
            left.append(request.x)
        reply = yield request
