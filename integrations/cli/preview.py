"""`commutant preview`: previews of many seeds, into a sheet folder."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from pathlib import Path
from typing import Any

from ...errors import Refusal
from . import values


def add(commands: Any) -> None:
    """Declare the command."""
    p = commands.add_parser(
        "preview",
        help="make previews of many seeds of one prompt",
        description="Make previews of many seeds, each looking like the high-resolution image of its seed.",
    )
    p.add_argument("prompt", type=values.utf8, help="what to draw")
    p.add_argument(
        "--model",
        type=values.utf8,
        metavar="PATH_OR_ID",
        help="a diffusers model: a folder or a hub id (default: embedded)",
    )
    p.add_argument(
        "--seeds", type=values.seeds, default=list(range(8)), help="like 0-7 or 3,5,9 or 0-3,8 (default: 0-7)"
    )
    p.add_argument(
        "--out", type=values.utf8, default="sheet", metavar="FOLDER", help="the sheet folder (default: sheet)"
    )
    p.add_argument("--overwrite", action="store_true", help="replace another sheet in that folder")

    image = p.add_argument_group("the image that is previewed")
    image.add_argument("--size", type=values.size, metavar="WxH", help="width x height (default: the model's own)")
    image.add_argument(
        "--steps",
        type=values.count(2, values.MOST_STEPS),
        default=30,
        metavar="N",
        help="steps of the final (default: 30)",
    )
    image.add_argument("--negative", type=values.utf8, metavar="TEXT", help="negative prompt")
    image.add_argument("--guidance", type=values.number, metavar="G", help="the pipeline's guidance_scale")
    image.add_argument("--true-cfg", type=values.number, metavar="G", help="true_cfg_scale, where a pipeline has both")
    image.add_argument(
        "--set",
        type=values.argument,
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="any other argument of the pipeline call; VALUE as JSON",
    )

    how = p.add_argument_group("how it is previewed")
    how.add_argument("--preset", help="staged (default), matched, paper, naive, direct, fewer or live")
    how.add_argument("--plan", type=Path, metavar="FILE", help="a plan that `commutant calibrate` wrote, as it is")
    how.add_argument("--scale", type=values.scale, help="like 2, 4/3 or 1.5 (default: 2)")
    how.add_argument(
        "--switch", type=values.count(0, values.MOST_STEPS), metavar="D", help="high-resolution steps before the switch"
    )
    how.add_argument(
        "--tail", type=values.count(1, values.MOST_STEPS), metavar="K", help="low-resolution steps after it"
    )
    how.add_argument(
        "--batch", type=values.count(1, values.MOST_SEEDS), default=4, metavar="B", help="previews at once (default: 4)"
    )
    how.add_argument(
        "--head-batch",
        type=values.count(1, values.MOST_SEEDS),
        default=1,
        metavar="B",
        help="high-resolution heads at once (default: 1; more is faster on a GPU, but a finish then equals the plain "
        "call only up to rounding)",
    )
    how.add_argument("--dtype", choices=("auto", "float32", "bfloat16", "float16"), default="auto")
    how.add_argument("--device", type=values.device, default="auto", help="auto (default), cpu, cuda, cuda:1 or mps")
    how.add_argument("--quiet", action="store_true", help="no progress bars and no summary")
    p.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Make the previews; returns the exit code."""
    plan = _plan(arguments)  # refused before anything slow starts
    from ..sheets.folder import SheetFolder
    from ..sheets.record import SheetRecord, checked_call
    from .models import Choice, call_of, defaults_of, load

    model = Choice(arguments.model, arguments.dtype, arguments.device).record()
    defaults = defaults_of(model)
    if arguments.model is None:
        _note_unknown_words(arguments.prompt)
    asked = _asked(arguments)
    checked_call({"height": 1, "width": 1, **defaults, **asked})  # before the model is loaded
    # A plan that the pipeline may change (`Previewer.suited`) is known with the pipeline only.
    fixed = arguments.model is None or arguments.plan is not None or arguments.preset not in (None, "staged", "fewer")
    if fixed and {"height", "width"} <= {
        *asked,
        *defaults,
    }:  # the whole request is known: refuse before the model is loaded
        early = SheetRecord(model, {**defaults, **asked}, plan, arguments.head_batch)
        SheetFolder.check(arguments.out, early, arguments.overwrite)

    pipe = load(model, quiet=arguments.quiet)
    call = call_of(pipe, asked, defaults)
    previewer = _previewer(pipe, arguments)
    model = dataclasses.replace(model, fingerprint=previewer.fingerprint)
    if arguments.plan is None:
        rest = {k: v for k, v in call.items() if k != "prompt"}
        plan = previewer.suited(plan, call["prompt"], **rest)
    record = SheetRecord(model, checked_call(call), plan, arguments.head_batch)
    return fill(previewer, record, arguments.seeds, arguments.out, arguments.overwrite, arguments.quiet)


def fill(previewer: Any, record: Any, seeds: list[int], out: str, overwrite: bool = False, quiet: bool = False) -> int:
    """Make the previews that the sheet of `record` in `out` does not hold yet; returns the exit code.

    Each preview is on disk as soon as it is ready, and the folder is not touched before the first is. Ctrl-C ends the
    run early and leaves a usable sheet of what was ready.
    """
    from ..sheets.folder import SheetFolder
    from ..sheets.views import redrawn
    from .models import shows_bars

    folder = SheetFolder.check(out, record, overwrite)
    ready = set() if folder is None else set(folder.ready())
    wanted = [s for s in seeds if s not in ready]
    if len(wanted) < len(seeds) and not quiet:
        print(f"{len(seeds) - len(wanted)} of these {len(seeds)} seeds are on the sheet already.", flush=True)
    call = dict(record.call)
    prompt = call.pop("prompt")
    made: list[Any] = []
    stopped = False
    with redrawn(lambda: folder, out):
        try:
            if wanted:
                bars = shows_bars() and not quiet
                for item in previewer.stream(prompt, seeds=wanted, plan=record.plan, progress=bars, **call):
                    folder = folder or SheetFolder.create(out, record, overwrite)
                    folder.add(item)
                    made.append(item)
            stopped = len(made) < len(wanted)
        except KeyboardInterrupt:
            stopped = True
    if stopped:
        there = "nothing was written" if folder is None else f"{out} is usable and holds {len(folder.seeds)}"
        print(f"commutant: stopped after {len(made)} of {len(wanted)} previews; {there}", file=sys.stderr)
        return 130
    if not quiet:
        print(_summary(folder, made, out))
    return 0


def _plan(arguments: argparse.Namespace) -> Any:
    from ...commutator import DEFAULT_PRESET
    from ..plans import chosen_plan

    if arguments.plan is not None:
        return _plan_of_file(arguments)
    name = DEFAULT_PRESET if arguments.preset is None else arguments.preset
    scale = 2 if arguments.scale is None else arguments.scale
    try:
        return chosen_plan(arguments.steps, name, scale, head=arguments.switch, tail=arguments.tail)
    except ValueError as error:
        raise Refusal(str(error)) from None


def _plan_of_file(arguments: argparse.Namespace) -> Any:
    from ..plans import PlanFile

    others = [name for name in ("preset", "scale", "switch", "tail") if getattr(arguments, name) is not None]
    if others:
        raise Refusal(f"--plan says all of it: leave out --{' and --'.join(others)}")
    found = PlanFile.load(arguments.plan)
    if found.steps != arguments.steps:
        raise Refusal(
            f"{arguments.plan} is a plan for {found.steps} steps, the finals have {arguments.steps}; give --steps "
            f"{found.steps}, or calibrate with --steps {arguments.steps}"
        )
    return found.plan


def _asked(arguments: argparse.Namespace) -> dict[str, Any]:
    asked: dict[str, Any] = {"prompt": arguments.prompt, "num_inference_steps": arguments.steps}
    if arguments.size is not None:
        asked["width"], asked["height"] = arguments.size
    asked |= {
        "negative_prompt": arguments.negative,
        "guidance_scale": arguments.guidance,
        "true_cfg_scale": arguments.true_cfg,
    }
    asked |= dict(arguments.set)
    return {k: v for k, v in asked.items() if v is not None}


def _previewer(pipe: Any, arguments: argparse.Namespace) -> Any:
    from ...adapters.diffusers import Previewer
    from ...adapters.diffusers.families import family_of

    previewer = Previewer(pipe, batch_size=arguments.batch, head_batch_size=arguments.head_batch)
    if family_of(pipe).video:
        raise Refusal(
            f"{type(pipe).__name__} makes videos, and a sheet holds images; use Previewer in Python (docs/diffusers.md)"
        )
    return previewer


def _note_unknown_words(prompt: str) -> None:
    from ..scenes import unknown_words
    from ..scenes.vocabulary import BACKGROUNDS, OBJECTS

    unknown = unknown_words(prompt)
    if unknown:
        print(
            f"The embedded model does not know: {', '.join(unknown)}. It draws {', '.join(OBJECTS)} on a background of "
            f"{', '.join(BACKGROUNDS)}. Use --model for anything else.",
            file=sys.stderr,
        )


def _summary(folder: Any, made: list[Any], shown_path: str) -> str:
    from ...adapters.sheet import Cost
    from ..sheets.folder import CONTACT_SHEET, PAGE
    from ..sheets.wording import evaluations, finish_command, seconds, share

    cost = sum((p.cost for p in made), Cost(0, 0, 0))
    count = f"{len(made)} preview{'s' if len(made) != 1 else ''}"
    lines = [f"{count} in {seconds(cost.seconds)}: {evaluations(cost)}" if made else f"{shown_path} has them all"]
    relative = share(cost)
    if relative:
        lines[0] += f": {relative} ({cost.full})"
    example = list(folder.seeds[:2])
    lines += [
        f"  look    {folder.path / PAGE}  or  {folder.path / CONTACT_SHEET}",
        f"  finish  {finish_command(shown_path, example)}",
    ]
    return "\n".join(lines)
