"""What the commands share that continue picked previews: which seeds, and the model that made them."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ...errors import Refusal
from . import values


def add_picking(p: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    p.add_argument("sheet", type=values.utf8, help="the sheet folder")
    which = p.add_mutually_exclusive_group(required=True)
    which.add_argument("--pick", type=values.seeds, nargs="+", metavar="SEED", help="seeds, like 3 7 or 0-3,8")
    which.add_argument("--all", action="store_true", help="every preview of the sheet")
    p.add_argument("--model", type=values.utf8, metavar="PATH", help="where the model is now, if it moved")
    p.add_argument("--dtype", choices=("float32", "bfloat16", "float16"), help="default: as the previews were made")
    p.add_argument("--device", type=values.device, help="default: as the previews were made")
    p.add_argument("--quiet", action="store_true", help="print nothing")


def picked_seeds(arguments: argparse.Namespace, folder: Any) -> list[int]:
    """The seeds asked for, each once; Refusal where the sheet does not hold one."""
    from ..sheets.folder import missing_seeds

    seeds = list(folder.seeds) if arguments.all else list(dict.fromkeys(s for part in arguments.pick for s in part))
    if missing := missing_seeds(folder, seeds):
        raise Refusal(missing)
    return seeds


def previewer_of(folder: Any, arguments: argparse.Namespace, seeds: list[int]) -> Any:
    """A previewer of the model that made the sheet, one image a call; None where no seed needs one.

    Every tape is checked before the model is loaded. Refusal for a damaged tape or another model.
    """
    from ...adapters.diffusers import Previewer
    from .models import Choice, load

    for seed in seeds:
        if fault := folder.fault(seed):
            raise Refusal(fault)
    if not seeds:
        return None
    made_with = folder.record.model
    given = arguments.model is not None
    name = arguments.model if given else _recorded_name(made_with, folder.path)
    device = arguments.device or made_with.device
    model = Choice(name, arguments.dtype or made_with.dtype, device).record()
    _same_kind(made_with, model)
    previewer = Previewer(load(model, quiet=arguments.quiet, local=not given), batch_size=1)
    if previewer.fingerprint != made_with.fingerprint:
        raise Refusal(f"{model.title} is not the model of this sheet: its weights or configuration differ")
    return previewer


def one_by_one(folder: Any, seeds: list[int], make: Callable[[int], str], *, what: str, shown_path: str) -> int:
    """Make something of each seed, on disk as soon as it is ready; returns the exit code.

    `make(seed)` keeps the result and returns the line to print, or "". `what` names the results after a Ctrl-C.
    """
    from ..sheets.views import redrawn

    done = 0
    with redrawn(lambda: folder, shown_path):
        try:
            for seed in seeds:
                line = make(seed)
                done += 1
                if line:
                    print(line, flush=True)
        except KeyboardInterrupt:
            print(f"commutant: stopped after {done} of {len(seeds)}{what}; they are in {shown_path}", file=sys.stderr)
            return 130
    return 0


def _recorded_name(made_with: Any, sheet: Path) -> str | None:
    """The model that a sheet names, where nobody but the sheet vouches for it. Refusal where that is not enough."""
    name = made_with.name
    if name is None:
        return None
    way_out = "if you trust it, give it with --model (docs/trust.md)"
    if name.startswith(("//", "\\\\")):
        raise Refusal(f"the sheet names a model on another machine, {name!r:.200}; {way_out}")
    if not Path(name).is_absolute() and Path(name).exists():
        raise Refusal(f"the sheet names a model relative to the working folder, {name!r:.200}; {way_out}")
    if Path(name).is_absolute() and Path(name).resolve().is_relative_to(sheet.resolve()):
        raise Refusal(f"the sheet names a model inside itself, {name!r:.200}; {way_out}")
    return str(name)


def _same_kind(made_with: Any, now: Any) -> None:
    """Refuse, before anything is loaded, what could not be bit-identical."""
    for what in ("dtype", "device"):
        before, after = (getattr(m, what).split(":")[0] for m in (made_with, now))
        if before != after:
            raise Refusal(
                f"these previews were made with {what} {before}; a run with {after} could not be bit-identical: use "
                f"--{what} {before}, or make the previews again"
            )
