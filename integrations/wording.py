"""How a sheet is put into words: the same on the terminal, the contact sheet and the page."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from ..adapters.sheet import Cost
from ..commutator import Plan
from .sheet_record import SheetRecord


def evaluations(cost: Cost) -> str:
    """Counted model evaluations, with their price in high-resolution ones where it was measured."""
    words = f"{cost.high} high- and {cost.low} low-resolution evaluations"
    equivalents = cost.equivalents()
    return words if equivalents is None else f"{words}, worth {equivalents:.1f} high ones"


def share(cost: Cost) -> str | None:
    """What previews cost next to plain runs of the same seeds: "21 % of the full price"."""
    relative = cost.relative()
    return None if relative is None else f"{100 * relative:.0f} % of the full price"


def plan_line(plan: Plan) -> str:
    """A plan in a few words."""
    if plan.tail == 0:
        what = (
            f"the whole image in {plan.head_steps} steps"
            if plan.head_steps == plan.switch + 1
            else (f"the denoised image after {plan.high_evaluations} evaluations")
        )
        return ", ".join([plan.name, what, *(["second order"] if plan.order == 2 else [])])
    when = "switch when settled, at step" if plan.settle is not None else "switch at step"
    words = [plan.name, f"{when} {plan.switch}", f"{plan.operator} 1/{plan.scale}"]
    if plan.head_steps is not None:
        words.append(f"head of {plan.head_steps} steps of its own")
    if plan.tail is not None:
        words.append(f"{plan.tail} low-resolution steps")
    if plan.guidance is not None:
        words.append(f"{plan.guidance.kind} guidance")
    if plan.order == 2:
        words.append("second order")
    return ", ".join(words)


def size_line(record: SheetRecord) -> str:
    """Width by height of the final."""
    return f"{record.call['width']} x {record.call['height']}"


def seconds(value: float) -> str:
    """A duration as people read it."""
    if value < 60:
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def quoted(path: str) -> str:
    """A path as a shell and a command line take it; one that begins with a dash would be taken for an option."""
    return shlex.quote(f"./{path}" if path.startswith("-") else path)


def finish_command(path: str, seeds: Sequence[int]) -> str:
    """The command that finishes some seeds of a sheet, ready to paste into a shell."""
    return f"commutant finish {quoted(path)} --pick {' '.join(map(str, seeds))}"
