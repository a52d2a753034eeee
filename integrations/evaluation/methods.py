"""What is compared: plans of ours, the paper's and its parts, and the baselines, which people would use instead.

Every plan that an evaluation runs is built in this file.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from ...commutator import Guidance, Plan, Stage, preset

Kind = Literal["ours", "baseline", "paper"]


@dataclass(frozen=True)
class Pair:
    """What one image is made of."""

    prompt: str
    seed: int


@dataclass(frozen=True)
class Method:
    """One way to make a preview.

    Attributes:
        name: in tables. kind: whose way it is.
        plan: how the preview is made; None for a plain low-resolution call of the same seed, whose noise is another.
        cache: the whole high-resolution run under this cache of the model instead (`comparison.cached`).
    """

    name: str
    kind: Kind
    plan: Plan | None
    cache: str | None = None

    @property
    def scale(self) -> Fraction | int:
        """Full size over that of its low-resolution evaluations."""
        return 2 if self.plan is None else self.plan.scale

    @property
    def high_evaluations(self) -> int:
        """At full size, of its plan; 0 without one, where they are not known before the run."""
        return 0 if self.plan is None else _high_evaluations(self.plan)

    @property
    def is_recorded(self) -> bool:
        """Whether the head of its plan runs on the final's own schedule, so that a record of the final answers it."""
        return self.plan is not None and not self.plan.own_schedule


def recorded(steps: int) -> Plan:
    """The final's own run of `steps` steps, recorded to its end."""
    return Plan.live(steps)


def table(steps: int) -> list[Method]:
    """The methods of the main table, for a final of `steps` steps."""
    names = ("staged", "paper", "naive", "matched", "direct")
    staged, paper, naive, matched, direct = (preset(name, steps) for name in names)

    def part(of_thirty: int) -> int:
        return max(2, round(steps * of_thirty / 30))

    return _distinct(
        [
            Method("direct LR, its own noise", "baseline", None),
            Method("direct LR, pooled noise, matched times", "ours", direct),
            Method("naive strided at t_D", "paper", naive),
            Method("paper without guidance", "paper", paper.with_last(guidance=None)),
            Method("paper", "paper", paper),
            Method("staged (default)", "ours", staged),
            Method("matched", "ours", matched),
            Method("matched without guidance", "ours", matched.with_last(guidance=None)),
            Method("matched, strided selection instead", "ours", matched.with_last(operator="strided", time="same")),
            *[Method(f"live preview after {n}", "baseline", Plan.live(n)) for n in (part(6), part(8), part(10))],
            *[Method(f"HR in {n} steps", "baseline", Plan.fewer(n)) for n in (part(6), part(8), part(10))],
            *[Method(f"HR in {n} steps, order 2", "ours", Plan.fewer(n, order=2)) for n in (part(6), part(8))],
        ]
    )


def stages(steps: int) -> list[Method]:
    """Own steps, coarse steps and a small end in other shares, at the default's cost, and what costs as much."""
    staged, matched = preset("staged", steps), preset("matched", steps)

    def part(of_thirty: int) -> int:
        return max(1, round(steps * of_thirty / 30))

    def shared(head: int, coarse: int) -> Plan:
        first, last = staged.stages
        return staged.replaced(head=part(head), stages=(first.replaced(steps=part(coarse)), last))

    return _distinct(
        [
            Method("staged (default)", "ours", staged),
            *[Method(f"{d} own and {k} coarse steps", "ours", shared(d, k)) for d, k in ((1, 6), (4, 3), (5, 2))],
            Method("staged, spectral crop instead", "ours", staged.with_last(operator="spectral")),
            Method("matched", "ours", matched),
            *[Method(f"HR in {part(8)} steps, order {n}", "baseline", Plan.fewer(part(8), n)) for n in (1, 2)],
            Method(f"live preview after {part(8)}", "baseline", Plan.live(part(8))),
        ]
    )


def ablation(steps: int) -> list[Method]:
    """The paper's own ablations: selection, guidance, and the grid of its length m and strength alpha."""
    paper = preset("paper", steps)
    plain = paper.with_last(guidance=None)
    methods = [
        Method(f"selection: {name}", "paper", plain.with_last(selection=selection))
        for name, selection in (("first", "first"), ("random", "random"), ("argmax", "argmax"), ("argmin", "argmin"))
    ]
    for length in (3, 5, 7):
        for alpha in (0.01, 0.02, 0.04):
            m = max(1, round(steps * length / 30))
            plan = paper.with_last(guidance=Guidance("exact", m, alpha))
            methods.append(Method(f"argmin, m = {m}, alpha = {alpha}", "paper", plan))
    lagged = paper.with_last(guidance=Guidance("lagged", max(1, round(steps / 6)), 0.04))
    return _distinct([*methods, Method("argmin, lagged, alpha = 0.04", "ours", lagged)])


def sweep(steps: int) -> list[Method]:
    """One thing of a preview changed at a time, and some together: what the default was chosen from."""
    matched, direct = preset("matched", steps), preset("direct", steps)

    def part(of_thirty: int, least: int = 1) -> int:
        return max(least, round(steps * of_thirty / 30))

    def defect(length: int) -> Guidance:
        return Guidance("defect", part(length), 1.0, "linear")

    out = [Method("default", "ours", matched)]
    out += [Method(f"D = {d}", "ours", matched.replaced(head=d)) for d in map(part, (2, 3, 4, 5, 8, 10, 15))]
    out += [Method(f"D = 0, tail {k}", "ours", direct.with_last(steps=k)) for k in map(part, (4, 8))]
    for k in map(part, (2, 3, 4, 6, 8)):
        out += [Method(f"tail {k}", "ours", matched.with_last(steps=k))]
        out += [Method(f"tail {k}, order 2", "ours", matched.with_last(steps=k, order=2))]
    out += [Method("order 2", "ours", matched.with_last(order=2))]
    out += [Method("block mean", "ours", matched.with_last(operator="mean"))]
    out += [Method("same time", "ours", matched.with_last(time="same"))]
    out += [Method(f"scale {s}", "ours", matched.with_last(scale=s)) for s in ("4/3", "8/5", "4")]
    out += [Method(f"defect over {n}", "ours", matched.with_last(guidance=defect(n))) for n in (1, 3, 5)]
    out += [
        Method(
            "D = 5, tail 8, defect over 5",
            "ours",
            matched.replaced(head=part(5)).with_last(steps=part(8), guidance=defect(5)),
        )
    ]
    for kind, weight, n in (("anchor", 0.9, 5), ("exact", 0.08, 3), ("lagged", 0.08, 3)):
        other = Guidance(kind, part(n), weight, "linear" if kind == "anchor" else "constant")
        out += [Method(f"{kind} over {n}, {weight}", "ours", matched.with_last(guidance=other))]
    for d in map(part, (2, 3, 4, 5)):
        for order, more in ((1, ""), (2, ", order 2")):
            out += [Method(f"{coarse_name(d, part(4))}{more}", "ours", coarse(d, part(4), defect(4), order))]
    for threshold in (0.1, 0.15, 0.2):
        settled = matched.replaced(head=part(10), early_switch=threshold)
        out += [Method(f"D up to 10, settled at {threshold}", "ours", settled)]
    for n in (part(n, 2) for n in (3, 4, 5, 6, 8, 10, 15)):
        out += [Method(f"HR in {n} steps", "baseline", Plan.fewer(n))]
        out += [Method(f"HR in {n} steps, order 2", "ours", Plan.fewer(n, order=2))]
    out += [Method(f"live preview after {n}", "baseline", Plan.live(part(n, 2))) for n in (3, 4, 6, 8, 10)]
    return _distinct(out)


def coarse(high: int, low: int, guidance: Guidance, order: int = 1) -> Plan:
    """Fewer steps, the last of them at low resolution."""
    return Plan(
        0, (Stage(Fraction(1), high, order=order), Stage(Fraction(2), low, guidance=guidance, order=order)), "coarse"
    )


def coarse_name(high: int, low: int) -> str:
    """What `coarse` is called in tables."""
    return f"{high} HR and {low} low-resolution steps"


def _high_evaluations(plan: Plan) -> int:
    """Guided evaluations of a sampler with one a step, at full size; with `early_switch`, at most."""
    first = plan.first_run
    count = first.steps + first.reference
    for i in plan.later:
        if plan.stages[i].scale == 1:
            count += (plan.stages[i].steps or 0) - (i == 0)  # the head's reference is the first of them
        elif plan.scale_before(i) == 1 and i != plan.later.start:  # that before the first is in the first run
            count += plan.reference(i)
    return count


def _distinct(methods: list[Method]) -> list[Method]:
    """Without those whose name stands before already: short runs have few numbers of steps to choose from."""
    return list({method.name: method for method in reversed(methods)}.values())[::-1]


def candidates(steps: int) -> list[Method]:
    """What `calibrate` chooses from: cheap and dear, with and without a low resolution."""
    matched, direct = preset("matched", steps), preset("direct", steps)

    def part(of_thirty: int, least: int = 1) -> int:
        return max(least, round(steps * of_thirty / 30))

    def defect(length: int) -> Guidance:
        return Guidance("defect", part(length), 1.0, "linear")

    found: dict[Plan, str] = {
        direct.with_last(steps=part(8)).replaced(name="direct"): f"direct, {part(8)} low-resolution steps"
    }
    for d in (2, 4, 6, 8, 10):
        for k in (5, 8):
            plan = matched.with_last(steps=part(k)).replaced(name="matched", head=part(d))
            found.setdefault(plan, f"matched, D = {plan.head}, {plan.steps} low-resolution steps")
    for d in map(part, (2, 3, 4, 5)):
        found.setdefault(coarse(d, part(4), defect(4)), coarse_name(d, part(4)))
    for name in ("naive", "paper"):
        found.setdefault(preset(name, steps), name)
    for n in (3, 4, 5, 6, 8, 10):
        n = part(n, 2)
        found.setdefault(Plan.live(n), f"live preview after {n} evaluations")
        found.setdefault(Plan.fewer(n), f"HR in {n} steps")
        found.setdefault(Plan.fewer(n, order=2), f"HR in {n} steps, order 2")
    return [Method(name, "baseline" if plan.scale == 1 else "ours", plan) for plan, name in found.items()]


def scales(steps: int) -> list[Method]:
    """The default at every scale, each with its own cost; for finals whose size all of them divide."""
    names = ("4/3", "3/2", "2", "3", "4")
    return [Method(f"scale {s}", "ours", preset("matched", steps, Fraction(s))) for s in names]


TABLES = {"main": table, "stages": stages, "ablation": ablation, "sweep": sweep, "scales": scales}
