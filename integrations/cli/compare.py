"""`commutant compare`: how like their finals previews are and what they cost, on the user's own model."""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path
from typing import Any

from ...errors import Refusal
from . import values

MOST_PROMPTS = 1000


def add(commands: Any) -> None:
    """Declare the command."""
    p = commands.add_parser(
        "compare",
        help="measure plans against each other and against fewer steps, on your model",
        description="Previews by many plans and by what one would use instead, each compared with the final of its "
        "seed: tables, a frontier plot and a picture strip. A run that is stopped goes on where it was.",
    )
    add_arguments(p, pairs=16)
    p.add_argument(
        "--table", choices=("main", "ablation", "sweep", "scales"), default="main", help="which plans (default: main)"
    )
    p.add_argument("--timed", type=int, default=0, metavar="PAIRS", help="also time this many pairs by the clock")
    p.add_argument(
        "--learned",
        action="append",
        default=[],
        choices=("lpips", "dists"),
        help="a learned metric as well, where its package and weights are installed",
    )
    p.add_argument("--out", type=Path, default=Path("compare"), metavar="FOLDER", help="default: compare")
    p.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Compare; returns the exit code."""
    from ..evaluation.comparison import Setting
    from ..evaluation.comparison import run as compared
    from ..evaluation.methods import TABLES
    from ..evaluation.metrics import METRICS, add_learned

    pairs = pairs_of(arguments)
    for name in arguments.learned:
        add_learned(name)
    previewer, call, _ = previewer_and_call(arguments)
    command = shlex.join(["commutant", *sys.argv[1:]])
    methods = TABLES[arguments.table](arguments.steps)
    setting = Setting(call, methods, pairs, tuple(METRICS), arguments.timed, command)
    compared(previewer, setting, arguments.out, lambda line: print(line, file=sys.stderr, flush=True))
    print((arguments.out / "table.md").read_text())
    print(f"{arguments.out}: table.md, table.csv, workflow.md, frontier-haarpsi.png, frontier-psnr.png, strip.webp")
    return 0


def add_arguments(p: Any, pairs: int) -> None:
    """Declare the arguments of both commands."""
    p.add_argument(
        "--model",
        type=values.utf8,
        metavar="PATH_OR_ID",
        help="a diffusers model: a folder or a hub id (default: embedded)",
    )
    p.add_argument("--prompts", type=Path, metavar="FILE", help="one prompt a line (default: the embedded model's own)")
    p.add_argument(
        "--pairs", type=values.count(1, values.MOST_SEEDS), default=pairs, help=f"prompt/seed pairs (default: {pairs})"
    )
    p.add_argument("--seed", type=values.count(0), default=1000, help="of the first pair, then one more each")
    p.add_argument("--size", type=values.size, metavar="WxH", help="width x height of the finals")
    p.add_argument(
        "--steps",
        type=values.count(2, values.MOST_STEPS),
        default=30,
        metavar="N",
        help="steps of the finals (default: 30)",
    )
    p.add_argument("--negative", type=values.utf8, metavar="TEXT", help="negative prompt")
    p.add_argument("--guidance", type=values.number, metavar="G", help="the pipeline's guidance_scale")
    p.add_argument("--true-cfg", type=values.number, metavar="G", help="true_cfg_scale, where a pipeline has both")
    p.add_argument("--set", type=values.argument, action="append", default=[], metavar="NAME=VALUE")
    p.add_argument(
        "--batch", type=values.count(1, values.MOST_SEEDS), default=4, metavar="B", help="pairs at once (default: 4)"
    )
    p.add_argument("--dtype", choices=("auto", "float32", "bfloat16", "float16"), default="auto")
    p.add_argument("--device", type=values.device, default="auto", help="auto (default), cpu, cuda, cuda:1 or mps")


def pairs_of(arguments: argparse.Namespace) -> list[Any]:
    """Prompts in turn, each time with the next seed. Refusal where there are none to be had."""
    from ..evaluation.methods import Pair

    if arguments.prompts is not None:
        try:
            text = arguments.prompts.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise Refusal(f"cannot read the prompts in {arguments.prompts}: {error}") from None
        prompts = [line.strip() for line in text.splitlines() if line.strip()]
        if not 1 <= len(prompts) <= MOST_PROMPTS:
            raise Refusal(f"{arguments.prompts} holds {len(prompts)} prompts; 1 to {MOST_PROMPTS} are needed")
    elif arguments.model is not None:
        raise Refusal("--model needs --prompts FILE, one prompt a line: plans are as good as they are on your prompts")
    else:
        from ..scenes.compose import scene_from_seed

        prompts = [scene_from_seed(10_000_000 + i).prompt for i in range(arguments.pairs)]
    return [Pair(prompts[i % len(prompts)], arguments.seed + i) for i in range(arguments.pairs)]


def previewer_and_call(arguments: argparse.Namespace) -> tuple[Any, dict[str, Any], Any]:
    """(previewer, plain call of the finals, record of the model). Loads the model, where what it makes can be drawn."""
    from ...adapters.diffusers import Previewer
    from ...adapters.diffusers.families import family_of
    from ..evaluation.plots import drawing
    from .models import Choice, call_of, defaults_of, load

    drawing()
    model = Choice(arguments.model, arguments.dtype, arguments.device).record()
    asked: dict[str, Any] = {"num_inference_steps": arguments.steps, "negative_prompt": arguments.negative}
    asked |= {"guidance_scale": arguments.guidance, "true_cfg_scale": arguments.true_cfg, **dict(arguments.set)}
    if arguments.size is not None:
        asked["width"], asked["height"] = arguments.size
    pipe = load(model, quiet=True)
    call = call_of(pipe, asked, defaults_of(model))
    previewer = Previewer(pipe, batch_size=arguments.batch)
    if family_of(pipe).video:
        raise Refusal(f"{type(pipe).__name__} makes videos: images are compared")
    return previewer, call, model
