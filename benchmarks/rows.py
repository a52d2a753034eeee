"""The rows of the consistency table: plans of ours, the paper's, and what people would do instead."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from commutant.commutator import Plan, preset


@dataclass(frozen=True)
class Row:
    """One way to make a preview.

    kind: "plan" runs `plan`; "low" is a plain low-resolution call of the same seed; "fewer" a plain high-resolution
    call of `steps` steps; "decoded" decodes the high-resolution denoised prediction after `steps` evaluations.
    """

    name: str
    kind: str
    plan: Plan | None = None
    steps: int = 0


def rows(steps: int, cost: Callable[[Plan], float]) -> list[Row]:
    """All rows for a final of `steps` steps; `cost(plan)` in full runs sets what "at equal cost" means."""
    paper, matched, naive, direct = (preset(n, steps) for n in ("paper", "matched", "naive", "direct"))
    coarse = round(steps / 3)
    early = round(0.4 * coarse)
    equal = [(p.name, max(1, round(cost(p) * steps))) for p in (matched, paper)]
    return [
        Row("direct LR, noise of its own", "low"),
        Row("direct LR, pooled noise, matched times", "plan", direct),
        Row("naive strided at t_D", "plan", naive),
        Row("paper without guidance", "plan", paper.replaced(guidance=None)),
        Row("paper", "plan", paper),
        Row("matched without guidance", "plan", matched.replaced(guidance=None)),
        Row("matched, strided selection instead", "plan", matched.replaced(operator="strided", time="same")),
        Row("matched, block mean instead", "plan", matched.replaced(operator="mean")),
        Row(f"matched, coarse head {early} of {coarse}", "plan", matched.replaced(head_steps=coarse, switch=early)),
        Row("matched (default)", "plan", matched),
        Row(f"HR denoised at step {paper.switch}, decoded", "decoded", steps=paper.switch),
        *[Row(f"HR in {n} steps (costs as {name})", "fewer", steps=n) for name, n in equal],
        *[Row(f"HR denoised after {n} (costs as {name})", "decoded", steps=n) for name, n in equal[:1]],
    ]
