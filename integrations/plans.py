"""Plans as people give them: a preset with a few numbers, or a file that `calibrate` wrote."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from ..commutator import DEFAULT_PRESET, Plan, preset
from ..commutator.atomic import write_atomically
from ..errors import Refusal
from .sheets.reading import read_limited

FORMAT, VERSION = "commutant-plan", 1
LARGEST = 100_000  # bytes; a plan has a few hundred


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


@dataclass(frozen=True)
class PlanFile:
    """A plan in a file of its own, JSON, checked field by field.

    Attributes:
        steps: of the finals that it is for. measured: when it was chosen, for people to read.
    """

    plan: Plan
    steps: int
    measured: dict[str, Any]

    def save(self, path: Path) -> None:
        """Write it, all or nothing."""
        data = {"format": FORMAT, "version": VERSION, "steps": self.steps, "plan": self.plan.to_dict()}
        text = json.dumps({**data, "measured": self.measured}, indent=2, ensure_ascii=False)
        write_atomically(path, (text + "\n").encode())

    @classmethod
    def load(cls, path: Path) -> PlanFile:
        """Read one. Refusal names what is wrong with it."""
        try:
            text = read_limited(path, LARGEST, "a plan", links=True)
        except OSError as error:
            raise Refusal(f"cannot read the plan {path}: {error.strerror}") from None
        try:
            data = json.loads(text)
        except (ValueError, RecursionError):
            raise Refusal(f"{path} is no JSON") from None
        if not isinstance(data, dict) or data.get("format") != FORMAT or data.get("version") != VERSION:
            raise Refusal(f"{path} is no plan of this version (format {FORMAT!r}, version {VERSION})")
        steps, measured = data.get("steps"), data.get("measured", {})
        if type(steps) is not int or not 2 <= steps <= 10_000 or not isinstance(measured, dict):
            raise Refusal(f"{path} has no valid 'steps' or 'measured'")
        try:
            return cls(Plan.from_dict(data.get("plan") or {}), steps, measured)
        except ValueError as error:
            raise Refusal(f"{path}: {error}") from None
