"""`commutant compare`: how like their finals previews are and what they cost, on the user's own model."""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path
from typing import Any

from .comparing import add_arguments, pairs_of, previewer_and_call


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
