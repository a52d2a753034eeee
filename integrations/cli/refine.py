"""`commutant refine`: previews that are nearer to their finals, from longer heads."""

from __future__ import annotations

import argparse
import dataclasses
from typing import Any

from ...errors import Refusal
from . import values
from .picking import add_picking, one_by_one, picked_seeds, previewer_of


def add(commands: Any) -> None:
    """Declare the command."""
    p = commands.add_parser(
        "refine",
        help="make the previews you picked again, nearer to their finals",
        description="Continue the recorded heads of picked previews at high resolution to a later switch, and make the "
        "previews again. Nothing is evaluated twice, and a finish continues the longer head.",
    )
    add_picking(p)
    p.add_argument(
        "--switch",
        type=values.count(1, values.MOST_STEPS),
        metavar="D",
        help="high-resolution steps of the final's own (default: 2/5 of its steps)",
    )
    p.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Refine the picked seeds; returns the exit code."""
    from ..sheets.folder import SheetFolder
    from ..sheets.wording import seconds

    folder = SheetFolder.open(arguments.sheet)
    seeds = picked_seeds(arguments, folder)
    head, plan = _head(arguments.switch, folder.record), folder.record.plan
    if not plan.resumes:
        raise Refusal(f"the previews of this sheet ({plan.name}) record nothing that a final continues; use finish")
    to_do = [s for s in seeds if folder.record.plan_of(folder.record.entry(s)).head < head]
    if not arguments.quiet:
        for seed in (s for s in seeds if s not in to_do):
            print(f"{folder.path / folder.record.entry(seed).image}  (refined so far already)")
    previewer = previewer_of(folder, arguments, to_do)

    def make(seed: int) -> str:
        before = folder.load(seed)
        refined = previewer.refine(before, head=head)
        spent = refined.cost
        total = dataclasses.replace(before.cost + spent, full=before.cost.full)
        folder.add(dataclasses.replace(refined, cost=total))
        path = folder.path / folder.record.entry(seed).image
        done = f"step {head}, {spent.high} evaluations more at full size, {spent.low} small, {seconds(spent.seconds)}"
        return "" if arguments.quiet else f"{path}  ({done})"

    return one_by_one(folder, to_do, make, what=" refinements", shown_path=arguments.sheet)


def _head(asked: int | None, record: Any) -> int:
    """The switch to refine to. Refusal where it is no later one, or leaves no step after it."""
    steps = record.call["num_inference_steps"]
    head = max(round(steps * 2 / 5), record.plan.head + 1) if asked is None else asked
    if not record.plan.head < head < steps:
        raise Refusal(
            f"--switch {head}: previews of this sheet switch after {record.plan.head} of {steps} steps; choose a later "
            "one"
        )
    return int(head)
