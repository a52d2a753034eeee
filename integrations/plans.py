"""Plans as people give them: a preset with a few numbers, or a file that `calibrate` wrote."""

from __future__ import annotations

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


def asked_plan(
    name: str | None,
    steps: int,
    scale: Fraction | int | None = None,
    *,
    switch: int | None = None,
    tail: int | None = None,
) -> Plan:
    """A preset for finals of `steps` steps, with what was asked otherwise; None is as the preset says.

    Args:
        scale: high over low resolution. switch: high-resolution steps before it changes.
        tail: low-resolution steps after that.

    Raises:
        Refusal: no such preset, a value out of its range, or a switch that leaves no step after it.
    """
    try:
        plan = preset(DEFAULT_PRESET if name is None else name, steps, 2 if scale is None else scale)
        plan = plan if switch is None else plan.replaced(head=switch)
        plan = plan if tail is None else plan.with_last(steps=tail)
    except ValueError as error:
        raise Refusal(str(error)) from None
    if plan.head >= steps:
        raise Refusal(f"switch {plan.head} leaves nothing to preview of {steps} steps")
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
