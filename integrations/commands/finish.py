"""`commutant finish`: the full images of picked previews, continued from their tapes."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from ..errors import Refusal
from . import values


def add(commands: Any) -> None:
    """Declare the command."""
    p = commands.add_parser(
        "finish",
        help="finish the previews you picked",
        description="Finish picked previews: the images that plain runs of their seeds would have made, bit for bit.",
    )
    p.add_argument("sheet", help="the sheet folder")
    which = p.add_mutually_exclusive_group(required=True)
    which.add_argument("--pick", type=values.seeds, nargs="+", metavar="SEED", help="seeds, like 3 7 or 0-3,8")
    which.add_argument("--all", action="store_true", help="every preview of the sheet")
    p.add_argument("--model", metavar="PATH", help="where the model is now, if it moved")
    p.add_argument("--dtype", choices=("float32", "bfloat16", "float16"), help="default: as the previews were made")
    p.add_argument("--device", type=values.device, help="default: as the previews were made")
    p.add_argument("--quiet", action="store_true", help="print nothing")
    p.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Finish the picked seeds; returns the exit code."""
    from ..sheet_folder import SheetFolder, missing_seeds
    from .models import Choice, load

    folder = SheetFolder.open(arguments.sheet)
    seeds = list(folder.seeds) if arguments.all else list(dict.fromkeys(s for part in arguments.pick for s in part))
    if missing := missing_seeds(folder, seeds):
        raise Refusal(missing)
    to_do = _unfinished(folder, seeds, arguments.quiet)
    for seed in to_do:  # every tape is checked before the model is loaded
        if fault := folder.fault(seed):
            raise Refusal(fault)
    if not to_do:
        return complete(folder, None, [], shown_path=arguments.sheet, quiet=arguments.quiet)

    made_with = folder.record.model
    name = made_with.name if arguments.model is None else arguments.model
    device = arguments.device or made_with.device
    model = Choice(name, arguments.dtype or made_with.dtype, device).record()
    _same_kind(made_with, model)
    previewer = _previewer(load(model, quiet=arguments.quiet))
    if previewer.fingerprint != made_with.fingerprint:
        raise Refusal(f"{model.title} is not the model of this sheet: its weights or configuration differ")
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


def _previewer(pipe: Any) -> Any:
    from ...adapters.diffusers import Previewer, UnsupportedError

    try:
        return Previewer(pipe, batch_size=1, head_batch_size=1)
    except UnsupportedError as error:
        raise Refusal(str(error)) from error


def _same_kind(made_with: Any, now: Any) -> None:
    """Refuse, before anything is loaded, what could not be bit-identical."""
    for what in ("dtype", "device"):
        before, after = (getattr(m, what).split(":")[0] for m in (made_with, now))
        if before != after:
            raise Refusal(
                f"these previews were made with {what} {before}; a finish with {after} could not be bit-identical: use "
                f"--{what} {before}, or make the previews again"
            )
