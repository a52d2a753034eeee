"""`commutant finish`: the full images of picked previews, continued from their tapes."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from .picking import add_picking, picked_seeds, previewer_of


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
    from ..sheet_folder import SheetFolder

    folder = SheetFolder.open(arguments.sheet)
    seeds = picked_seeds(arguments, folder)
    to_do = _unfinished(folder, seeds, arguments.quiet)
    previewer = previewer_of(folder, arguments, to_do)
    return complete(folder, previewer, to_do, shown_path=arguments.sheet, quiet=arguments.quiet)


def complete(folder: Any, previewer: Any, seeds: list[int], *, shown_path: str, quiet: bool = False) -> int:
    """Finish seeds one by one, each on disk as soon as it is ready; returns the exit code."""
    from ..views import write_views
    from ..wording import seconds

    done = 0
    try:
        for seed in seeds:
            (final,) = previewer.resume([folder.load(seed)])
            path = folder.add_final(seed, final.image, final.cost)
            done += 1
            if not quiet:
                saved = final.cost.full - final.cost.high
                made = f"{final.cost.high} evaluations, {saved} from the tape, {seconds(final.cost.seconds)}"
                print(f"{path}  ({made})", flush=True)
    except KeyboardInterrupt:
        print(f"commutant: stopped after {done} of {len(seeds)} finals; they are in {shown_path}", file=sys.stderr)
        return 130
    finally:
        write_views(folder, shown_path)
    return 0


def _unfinished(folder: Any, seeds: list[int], quiet: bool) -> list[int]:
    to_do = []
    for seed in seeds:
        if not folder.finished(seed):
            to_do.append(seed)
        elif not quiet:
            print(f"{folder.path / folder.record.final_of(seed).image}  (finished already)")
    return to_do
