"""`commutant finish`: the full images of picked previews, continued from their tapes."""

from __future__ import annotations

import argparse
from typing import Any

from .picking import add_picking, one_by_one, picked_seeds, previewer_of


def add(commands: Any) -> None:
    """Declare the command."""
    p = commands.add_parser(
        "finish",
        help="finish the previews you picked",
        description="Finish picked previews: the images that plain runs of their seeds would have made, bit for bit.",
    )
    add_picking(p)
    p.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Finish the picked seeds; returns the exit code."""
    from ..sheets.folder import SheetFolder

    folder = SheetFolder.open(arguments.sheet)
    seeds = picked_seeds(arguments, folder)
    to_do = _unfinished(folder, seeds, arguments.quiet)
    previewer = previewer_of(folder, arguments, to_do)
    return complete(folder, previewer, to_do, shown_path=arguments.sheet, quiet=arguments.quiet)


def complete(folder: Any, previewer: Any, seeds: list[int], *, shown_path: str, quiet: bool = False) -> int:
    """Finish seeds one by one, each on disk as soon as it is ready; returns the exit code."""
    from ..sheets.wording import seconds

    def make(seed: int) -> str:
        final = previewer.finish(folder.load(seed))
        path = folder.add_final(seed, final.image, final.cost)
        saved = final.cost.full - final.cost.high
        made = f"{final.cost.high} evaluations, {saved} from the tape, {seconds(final.cost.seconds)}"
        return "" if quiet else f"{path}  ({made})"

    return one_by_one(folder, seeds, make, what=" finals", shown_path=shown_path)


def _unfinished(folder: Any, seeds: list[int], quiet: bool) -> list[int]:
    to_do = []
    for seed in seeds:
        if not folder.finished(seed):
            to_do.append(seed)
        elif not quiet:
            print(f"{folder.path / folder.record.final_of(seed).image}  (finished already)")
    return to_do
