"""`commutant calibrate`: the plan that is best on the user's own model, within a budget, as a file for `preview`."""

from __future__ import annotations

import argparse
import sys
from datetime import date
from pathlib import Path
from typing import Any

from ...errors import Refusal
from . import values
from .compare import add_arguments, pairs_of, previewer_and_call


def add(commands: Any) -> None:
    """Declare the command."""
    p = commands.add_parser(
        "calibrate",
        help="find the best plan for your model within a budget",
        description="Tries plans on a few prompts of yours, plain runs of fewer steps and cached runs among them, and "
        "writes the best one within the budget to a file for `preview --plan`.",
    )
    add_arguments(p, pairs=8)
    p.add_argument(
        "--budget", type=values.number, default=0.3, metavar="B", help="cost of a preview in full runs (default: 0.3)"
    )
    p.add_argument("--metric", default="haarpsi", help="what is best (default: haarpsi; psnr, fsim, flip, ...)")
    p.add_argument("--no-caches", action="store_true", help="leave cached high-resolution runs out")
    p.add_argument("--out", type=Path, default=Path("plan.json"), metavar="FILE", help="default: plan.json")
    p.add_argument("--work", type=Path, metavar="FOLDER", help="scores so far (default: the file's name with .work)")
    p.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Calibrate; returns the exit code."""
    from ..evaluation.comparison import Setting, caches_of
    from ..evaluation.comparison import run as compared
    from ..evaluation.methods import Method, candidates
    from ..evaluation.metrics import METRICS
    from ..evaluation.summary import affordable, choose
    from ..plans import PlanFile
    from ..sheets.wording import quoted

    if not 0 < arguments.budget <= 1:
        raise Refusal(f"--budget is a share of a full run, above 0 and at most 1, got {arguments.budget:g}")
    if arguments.metric not in METRICS or not METRICS[arguments.metric].reference:
        raise Refusal(f"--metric must compare with the final: {', '.join(m for m in METRICS if METRICS[m].reference)}")
    if arguments.out.is_dir():
        raise Refusal(f"{arguments.out} is a folder; --out names a file")
    pairs = pairs_of(arguments)
    methods = affordable(candidates(arguments.steps), arguments.budget, arguments.steps)
    previewer, call, model = previewer_and_call(arguments)
    if not arguments.no_caches:
        methods += [Method(f"HR with {name}", "baseline", None, name) for name in caches_of(previewer.pipe)]
    work = arguments.work or arguments.out.with_suffix(".work")
    metrics = tuple(dict.fromkeys(["psnr", "haarpsi", "sharpness", arguments.metric]))
    setting = Setting(call, methods, pairs, metrics, command="commutant calibrate")
    summary = compared(previewer, setting, work, lambda line: print(line, file=sys.stderr, flush=True))
    try:
        choice = choose(summary, arguments.budget, arguments.metric)
    except ValueError as error:
        raise Refusal(str(error)) from None
    line = choice.line
    measured = {
        "date": date.today().isoformat(),
        "model": model.title,
        "pairs": summary.pairs,
        "budget": arguments.budget,
        "entry": line.method.name,
        "cost": round(line.cost, 4),
        "workflow_16": round(line.workflow(16), 3),
        **{metric: round(value, 5) for metric, value in line.means.items()},
    }
    PlanFile(choice.plan, arguments.steps, measured).save(arguments.out)
    print((work / "table.md").read_text())
    for sentence in report(choice, arguments.metric, summary.pairs):
        print(sentence)
    print(f'Use it: commutant preview "..." --steps {arguments.steps} --plan {quoted(str(arguments.out))}')
    return 0


def report(choice: Any, metric: str, pairs: int) -> list[str]:
    """What was found, in sentences."""
    from ..evaluation.metrics import METRICS

    line, title = choice.line, METRICS[metric].title
    out = [
        f"Best within the budget: {line.method.name}, at {line.cost:.3f} of a full run: {title} "
        f"{METRICS[metric].shown(line.means[metric])} on {pairs} pairs; sixteen previews and one final "
        f"{line.workflow(16):.1f}x faster than sixteen finals."
    ]
    if len(choice.tied) > 1:
        names = ", ".join(t.method.name for t in choice.tied if t is not line)
        out.append(f"Not told apart from it by {pairs} pairs: {names}; it is the fastest of them with its finish.")
    if choice.plan.scale == 1:
        what = "live previews of the run" if choice.plan.head else "plain runs of fewer high-resolution steps"
        out.append(f"On this model {what} are the best previews: no low resolution is used.")
    if choice.baseline is not None:
        cached = choice.baseline
        value = METRICS[metric].shown(cached.means[metric])
        out.append(
            f"Better still within the budget: {cached.method.name}, at {cached.cost:.3f}: {title} {value}. "
            "That is no plan: enable the cache on the pipeline yourself."
        )
    return out
