"""A plan from what a person chooses in a user interface: a preset, and a few numbers in place of the preset's own."""

from __future__ import annotations

import dataclasses
from fractions import Fraction

from ..commutator import DEFAULT_PRESET, Plan, preset


def chosen_plan(
    steps: int,
    name: str = DEFAULT_PRESET,
    scale: Fraction | int = 2,
    *,
    head: int | None = None,
    tail: int | None = None,
    corrections: int | None = None,
) -> Plan:
    """The preset `name` with some of its numbers replaced.

    Args:
        steps: of the final, at least 2.
        name: one of `commutator.PRESETS`.
        scale: the final's side over the preview's.
        head: the final's own steps before the switch, below `steps`; None for the preset's.
        tail: steps of the last stage, the low-resolution one; 0 for one low-resolution step for each that the head
            leaves and no other stage; None for the preset's. A preset whose stages would be no shorter than what the
            head leaves gets 0.
        corrections: guided steps of the last stage; 0 for none, None for the preset's.

    Raises:
        ValueError: for a value outside these, in the words of a user interface ("switch", "tail", "corrections").
    """
    plan = preset(name, steps, scale)
    if head is not None:
        plan = plan.replaced(head=head)
    if plan.head >= steps:
        raise ValueError(f"the switch must lie below the {steps} sampling steps, got {plan.head}")
    if corrections == 0:
        plan = plan.with_last(guidance=None)
    elif corrections is not None:
        guidance = plan.stages[-1].guidance
        if guidance is None:
            raise ValueError(f"the preset {name!r} has no corrections: leave their number at the preset's, or at 0")
        plan = plan.with_last(guidance=dataclasses.replace(guidance, steps=corrections))
    if tail:
        return plan.with_last(steps=tail)
    if plan.steps is not None and (tail == 0 or plan.steps >= steps - plan.head):
        return plan.replaced(stages=(plan.stages[-1].replaced(steps=None),))
    return plan
