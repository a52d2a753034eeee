"""How a sheet is put into words: the same on the terminal, the contact sheet and the page."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from ...adapters.sheet import Cost
from ...commutator import Plan
from .record import SheetRecord


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
    words = [plan.name]
    if plan.head:
        until = "until settled, at most " if plan.early_switch is not None else ""
        words.append(f"{until}{_steps(plan.head)} of the final's own")
    for stage in plan.stages:
        count = "the rest of the steps" if stage.steps is None else _steps(stage.steps)
        if plan.own_schedule and len(plan.stages) == 1:
            where = "for the whole image"
        elif stage.scale == 1:
            where = "at full resolution"
        else:
            where = f"at 1/{stage.scale}" + ("" if stage.operator is None else f" ({stage.operator})")
        words.append(" ".join([count, where]))
        words += [f"{stage.guidance.kind} guidance"] if stage.guidance is not None else []
        words += ["second order"] if stage.order == 2 else []
    return ", ".join([*words, *([] if plan.stages else ["the denoised image then"])])


def _steps(count: int) -> str:
    return f"{count} step{'s' if count != 1 else ''}"


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
