"""A plan in a file of its own: what `calibrate` writes and `preview --plan` reads. JSON, checked field by field."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...commutator import Plan
from ...commutator.atomic import write_atomically
from ...errors import Refusal
from .reading import read_limited

FORMAT, VERSION = "commutant-plan", 1
LARGEST = 100_000  # bytes; a plan has a few hundred


@dataclass(frozen=True)
class PlanFile:
    """A plan for finals of `steps` steps, and what was measured when it was chosen (for people to read)."""

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
