"""Which previews pick the best seed: Kendall's tau, regret and share kept against cost, on the embedded model.

    python -m benchmarks.picking --prompts 64 --seeds 16 --guidance 7
    python -m benchmarks.picking --plans fewer8 stages4-2-4 --ladder stages4-2-4:4:stages10-4-4

Of every prompt K seeds are run to their finals and previewed by every plan. A pick is judged by the finals' scores, in
two ways (`integrations/scenes/tastes.py`): the classifier's evidence for exactly the prompted objects, and many random
tastes, linear in presence, place and size of every object. Previews are scored at the classifier's 128x128, whatever
their size. Costs are counted, in full runs: (HR + r x LR evaluations) / N with r as timed in this run; "all" is K
previews and the finish of the picked one. Intervals resample prompts (95%, bootstrap).

Plans (steps of N, as --steps says): `fewer8`, HR in 8 steps of order 2; `euler8`, of order 1; `live8`, the live preview
after 8; `stages4-2-4`, head 4, 2 coarse HR steps of order 2, 4 LR steps with the defect over two (`stages3-4-4-last`:
against the last answer before the switch instead of one more); a preset; a file of `commutant calibrate`. A ladder
`PLAN:KEPT:PLAN` previews all by the first, and those kept again by the next, which continues the recorded head.

A run that is stopped goes on where it was; plans that are added later are added to what is there.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import io
import json
import platform
import re
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from commutant.adapters.diffusers import Previewer
from commutant.commutator import PRESETS, Guidance, Plan, Stage, preset
from commutant.commutator.tape import write_atomically
from commutant.errors import Refusal
from commutant.integrations.evaluation import (
    Interval,
    LinearTastes,
    Picks,
    Point,
    Rung,
    ladder,
    picks,
    plot_frontier,
    spend,
)
from commutant.integrations.evaluation.ledger import RunRecord
from commutant.integrations.evaluation.methods import Pair
from commutant.integrations.evaluation.metrics.pictures import array
from commutant.integrations.evaluation.picking import MEASURES
from commutant.integrations.evaluation.plots import drawing
from commutant.integrations.plans import PlanFile
from commutant.integrations.scenes import SCENES_CALL_DEFAULTS, load_scenes
from commutant.integrations.scenes.classifier import SceneClassifier, load_classifier
from commutant.integrations.scenes.compose import Scene, scene_from_seed
from commutant.integrations.scenes.tastes import evidence, exactly, features, reference_features

FIRST_SCENE = 60_000_000  # beyond those of training, of the other tables and of the tastes' reference
FINAL = "final"  # the name of the finals among the plans
PLANS = ("live4", "live6", "live8", "live10", "fewer6", "fewer8", "fewer10", "euler8", "direct", "matched", "paper",
         "stages4-2-4", "stages3-4-4-last")  # fmt: skip
LADDERS = ("live6:4:stages10-4-4", "stages4-2-4:4:stages10-4-4")
BASELINES = r"(live|fewer|euler)\d+"  # what people use instead
FAMILIES = ("evidence", "tastes")


def plan_of(text: str, steps: int) -> Plan:
    """The plan that a name of this module's docstring means, for a final of `steps` steps. Refusal for no such."""
    if text in PRESETS:
        return preset(text, steps)
    if text.endswith(".json"):
        found = PlanFile.load(Path(text))
        if found.steps != steps:
            raise Refusal(f"{text} is a plan for finals of {found.steps} steps, not of {steps}")
        return found.plan
    match = re.fullmatch(r"(live|fewer|euler)(\d{1,4})|stages(\d{1,4})-(\d{1,4})-(\d{1,4})(-last)?", text)
    if match is None:
        raise Refusal(
            f"no plan {text!r}: give live8, fewer8, euler8, stages4-2-4, a file or one of {', '.join(PRESETS)}"
        )
    kind, count, *numbers = match.groups()[:5]
    try:
        if kind == "live":
            return Plan.live(int(count))
        if kind is not None:
            return Plan.fewer(int(count), order=2 if kind == "fewer" else 1)
        head, coarse, small = map(int, numbers)
        guidance = Guidance("defect", 2, 1.0, "linear", "last" if match[6] else "switch")
        high = (Stage(Fraction(1), coarse, order=2),) if coarse else ()
        return Plan(head, (*high, Stage(Fraction(2), small, guidance=guidance)))
    except ValueError as error:
        raise Refusal(f"{text}: {error}") from None


@dataclass(frozen=True)
class Ladder:
    """A choice in rungs: the plan of each by name, and how many go on from each but the last."""

    plans: tuple[str, ...]
    kept: tuple[int, ...] = ()

    @classmethod
    def of(cls, text: str) -> Ladder:
        """From `PLAN:KEPT:PLAN` or longer. Refusal for anything else."""
        plans, kept = text.split(":")[::2], text.split(":")[1::2]
        if len(plans) != len(kept) + 1 or not kept or not all(plans) or not all(k.isdecimal() for k in kept):
            raise Refusal(f"a ladder is PLAN:KEPT:PLAN, got {text!r}")
        return cls(tuple(plans), tuple(map(int, kept)))

    def __str__(self) -> str:
        return self.plans[0] + "".join(f", {k} by {plan}" for k, plan in zip(self.kept, self.plans[1:]))


@dataclass
class Row:
    """The K seeds of a prompt by one plan.

    Attributes:
        plan: as JSON. features (K, features), evidence (K,): what the classifier sees (tastes.py).
        counts: (K, 3): guided HR and LR evaluations of a preview made from nothing, and how many are on its tape.
        timed: seconds and samples in the model at HR, then at LR.
    """

    plan: str
    features: np.ndarray
    evidence: np.ndarray
    counts: np.ndarray
    timed: np.ndarray


ARRAYS = tuple(field.name for field in dataclasses.fields(Row))


class Group:
    """What is known of one prompt, in a file: rows by the name of the plan."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: dict[str, Row] = {}
        if path.exists():
            with np.load(path, allow_pickle=False) as data:
                stacked = {name: data[name] for name in (*ARRAYS, "names")}
            for i, name in enumerate(stacked["names"]):
                values = {a: stacked[a][i] for a in ARRAYS[1:]}
                self.rows[str(name)] = Row(str(stacked["plan"][i]), **values)

    def missing(self, plans: Mapping[str, Plan]) -> dict[str, Plan]:
        """Those that have no row yet. Refusal where one of these names was another plan when the row was made."""
        for name, plan in plans.items():
            if name in self.rows and self.rows[name].plan != json.dumps(plan.to_dict()):
                raise Refusal(f"{self.path} was made with another plan {name!r}; give another folder")
        return {name: plan for name, plan in plans.items() if name not in self.rows}

    def save(self) -> None:
        """Written whole or not at all."""
        rows, buffer = list(self.rows.values()), io.BytesIO()
        arrays = {name: np.stack([np.asarray(getattr(row, name)) for row in rows]) for name in ARRAYS}
        arrays["names"] = np.array(list(self.rows))
        np.savez_compressed(buffer, **arrays)
        write_atomically(self.path, buffer.getvalue())


def measured(
    previewer: Previewer,
    classifier: SceneClassifier,
    call: Mapping[str, Any],
    scene: Scene,
    seeds: Sequence[int],
    plans: Mapping[str, Plan],
) -> Iterator[tuple[str, Row]]:
    """The finals of a prompt's seeds, then every plan; the finals' own run is recorded and answers the plans' heads."""
    steps = call["num_inference_steps"]

    def row(plan: Plan, images: Sequence[Any], counts: Sequence[Sequence[float]], previews: Sequence[Any]) -> Row:
        costs = [p.cost for p in previews]
        seen = evidence(classifier, [array(image) for image in images])
        names = ("high_seconds", "high", "low_seconds", "low")
        timed = np.array([sum(getattr(cost, name) for cost in costs) for name in names], dtype=np.float64)
        plan_text = json.dumps(plan.to_dict())
        return Row(plan_text, features(seen).astype(np.float32), exactly(seen, scene.words), np.array(counts), timed)

    whole = list(previewer.preview(scene.prompt, seeds=list(seeds), plan=Plan.live(steps), progress=False, **call))
    finals = [final.image for final in previewer.finish(whole)]
    yield FINAL, row(Plan.live(steps), finals, [(float(steps), 0.0, float(steps))] * len(seeds), whole)
    for name, plan in plans.items():
        made = previewer.with_plan(whole, plan)
        counts = []
        for preview in made:
            passes = preview.cost.full / preview.tape.header["evaluations"]
            recorded = preview.tape.recorded  # answered from the finals' record, and part of what a preview costs
            counts.append((recorded + preview.cost.high / passes, preview.cost.low / passes, float(recorded)))
        yield name, row(plan, made.images, counts, made.previews)


@dataclass(frozen=True)
class Line:
    """One way to choose: cost of a first preview and of everything, in finals, and the picks by each family."""

    name: str
    cost: float
    total: float
    picks: Mapping[str, Picks]

    @cached_property
    def intervals(self) -> dict[str, Interval]:
        """By "family_measure"."""
        rng = np.random.default_rng
        return {f"{f}_{m}": self.picks[f].interval(m, rng(0)) for f in FAMILIES for m in MEASURES}


class Scores:
    """Rows of all groups by plan, as scores of both families: evidence (groups, K), tastes (tastes, groups, K)."""

    def __init__(self, groups: Sequence[Group], plans: Mapping[str, Plan], tastes: LinearTastes, steps: int) -> None:
        self.groups, self.plans, self.tastes, self.steps = groups, plans, tastes, steps
        self.seeds = len(groups[0].rows[FINAL].evidence)
        self.ratios = {scale: self._ratio(scale) for scale in {plan.scale for plan in plans.values()} if scale > 1}

    def of(self, name: str, family: str) -> np.ndarray:
        """Of the previews by one plan, or of the finals."""
        if family == "evidence":
            return np.stack([group.rows[name].evidence for group in self.groups])
        return self.tastes(np.stack([group.rows[name].features for group in self.groups]))

    def rung(self, name: str) -> Rung:
        """What a preview by a plan costs, as a mean."""
        high, low, recorded = np.mean([group.rows[name].counts for group in self.groups], axis=(0, 1))
        ratio = self.ratios[self.plans[name].scale] if low else 0.0
        return Rung((high + ratio * low) / self.steps, recorded / self.steps)

    def _ratio(self, scale: Fraction) -> float:
        """r: seconds of a sample at this scale over those of one at full size."""
        names = [name for name, plan in self.plans.items() if plan.scale == scale]
        low = np.sum([group.rows[name].timed[2:] for group in self.groups for name in names], axis=0)
        high = np.sum([group.rows[FINAL].timed[:2] for group in self.groups], axis=0)
        return float((low[0] / low[1]) / (high[0] / high[1]))

    def lines(self, ladders: Sequence[Ladder]) -> list[Line]:
        """Every plan alone, every ladder, and what bounds them: a blind choice, and all finals."""
        finals = {family: self.of(FINAL, family) for family in FAMILIES}
        blind = {family: picks(np.zeros_like(finals[family]), finals[family]) for family in FAMILIES}
        out = [Line("blind", 0.0, 1.0, blind)]
        for ways in (*(Ladder((name,)) for name in self.plans), *ladders):
            rungs = [self.rung(name) for name in ways.plans]
            found = {}
            for family in FAMILIES:
                order = ladder([self.of(name, family) for name in ways.plans], ways.kept)
                found[family] = picks(order, finals[family])
            out.append(Line(str(ways), rungs[0].cost, spend(rungs, (self.seeds, *ways.kept)), found))
        same = {family: picks(finals[family], finals[family]) for family in FAMILIES}
        return [*out, Line("all finals", 1.0, float(self.seeds), same)]


def markdown_table(lines: Sequence[Line]) -> str:
    """Costs, then mean and interval of every measure."""
    heads = ["picked by", "preview", "all", *(f"{measure}, {family}" for family in FAMILIES for measure in MEASURES)]
    out = ["| " + " | ".join(heads) + " |", "|---|" + "---:|" * (len(heads) - 1)]
    for line in lines:
        cells = [str(interval) for interval in line.intervals.values()]
        out.append("| " + " | ".join([line.name, f"{line.cost:.3f}", f"{line.total:.2f}", *cells]) + " |")
    return "\n".join(out) + "\n"


def differences(lines: Sequence[Line], against: str) -> str:
    """Every line minus the one called `against`, prompt by prompt, with intervals and Wilcoxon's p, as markdown."""
    base = next(line for line in lines if line.name == against)
    heads = [f"{measure}, {family}" for family in FAMILIES for measure in MEASURES]
    out = [f"| minus {against} (95% paired bootstrap; p of Wilcoxon's test) | " + " | ".join(heads) + " |"]
    out += ["|---|" + "---:|" * len(heads)]
    for line in lines:
        if line.name in (against, "blind", "all finals"):
            continue
        cells = []
        for family in FAMILIES:
            for measure in MEASURES:
                names, rng = (line.name, against), np.random.default_rng(0)
                found = line.picks[family].against(base.picks[family], measure, names, rng)
                cells.append(f"{found.difference}, p = {found.test.p_value:.1g}")
        out.append(f"| {line.name} | " + " | ".join(cells) + " |")
    return "\n".join(out) + "\n"


def write_csv(lines: Sequence[Line], path: Path) -> None:
    """The table, unrounded."""
    columns = [f"{f}_{m}" + end for f in FAMILIES for m in MEASURES for end in ("", "_low", "_high")]
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["picked_by", "preview", "all", *columns])
        for line in lines:
            values = [f"{value:.6g}" for i in line.intervals.values() for value in (i.mean, i.low, i.high)]
            writer.writerow([line.name, f"{line.cost:.5f}", f"{line.total:.5f}", *values])


def plot(lines: Sequence[Line], path: Path) -> None:
    """Share kept over the tastes against everything that the choice costs."""
    points = [
        Point(
            line.name,
            line.total,
            line.intervals["tastes_kept"].mean,
            "paper"
            if line.name in ("paper", "naive")
            else "baseline"
            if re.fullmatch(BASELINES, line.name)
            else "ours",
        )
        for line in lines[1:-1]
    ]
    plot_frontier(
        points,
        path,
        quality="share kept, mean over tastes",
        cost="previews of all seeds and one finish, in full runs of the final",
        title="What a choice by previews keeps of a choice by finals",
    )


def seeds_of(prompt: int, count: int) -> list[int]:
    """No two prompts share a seed: the same noise would make their groups less than independent."""
    return [100_000 + 1000 * prompt + i for i in range(count)]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", type=int, default=64)
    parser.add_argument("--seeds", type=int, default=16, help="of each prompt, at most 1000")
    parser.add_argument("--guidance", type=float, default=7.0, help="true_cfg_scale; 1 for none")
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--plans", nargs="+", default=list(PLANS), metavar="PLAN")
    parser.add_argument("--ladder", action="append", metavar="PLAN:KEPT:PLAN", help=f"default: {' '.join(LADDERS)}")
    parser.add_argument("--against", default="fewer8", metavar="PLAN", help="what the others are compared with")
    parser.add_argument("--tastes", type=int, default=200, help="how many random ones")
    parser.add_argument("--first", type=int, default=FIRST_SCENE, help="seed of the first scene")
    parser.add_argument("--batch", type=int, default=4, help="previews a call; finals are made one by one")
    parser.add_argument("--out", type=Path, help="folder (default: in docs/results, by guidance)")
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args(arguments)
    if options.prompts < 1 or not 2 <= options.seeds <= 1000:
        raise Refusal("at least one prompt, and 2 to 1000 seeds of each")

    ladders = [Ladder.of(text) for text in (LADDERS if options.ladder is None else options.ladder)]
    names = dict.fromkeys([*options.plans, *(name for way in ladders for name in way.plans)])
    plans = {name: plan_of(name, options.steps) for name in names}
    for way in ladders:
        if any(not 1 <= after < before for before, after in zip((options.seeds, *way.kept), way.kept)):
            raise Refusal(f"{way}: each rung keeps fewer than the one before, of {options.seeds} seeds")
    if options.against not in plans:
        raise Refusal(f"--against {options.against} is not among the plans")

    drawing()
    folder = options.out or Path("docs/results") / f"picking-cfg-{options.guidance:g}"
    pipe = load_scenes(device=options.device)
    pipe.set_progress_bar_config(disable=True)
    previewer, classifier = Previewer(pipe, batch_size=options.batch), load_classifier()
    call = dict(SCENES_CALL_DEFAULTS, num_inference_steps=options.steps, true_cfg_scale=options.guidance)
    scenes = [scene_from_seed(options.first + i) for i in range(options.prompts)]
    paths = [folder / f"prompt-{i:04d}.npz" for i in range(options.prompts)]
    pairs = [Pair(scene.prompt, s) for i, scene in enumerate(scenes) for s in seeds_of(i, options.seeds)]
    about = call | {"number of seeds": options.seeds}
    RunRecord.of(folder / "run.json", previewer.fingerprint, about, pairs, any(p.exists() for p in paths)).write()
    groups = [Group(path) for path in paths]
    waiting = [group.missing(plans) for group in groups]  # before anything is computed
    for i, (group, scene, todo) in enumerate(zip(groups, scenes, waiting)):
        if todo or FINAL not in group.rows:
            found = dict(measured(previewer, classifier, call, scene, seeds_of(i, options.seeds), todo))
            group.rows |= {name: row for name, row in found.items() if name not in group.rows}
            group.save()
        print(f"{i + 1} of {options.prompts} prompts", flush=True)

    tastes = LinearTastes.drawn(options.tastes, reference_features(classifier), np.random.default_rng(0))
    scores = Scores(groups, plans, tastes, options.steps)
    lines = scores.lines(ladders)
    ratios = ", ".join(f"{ratio:.3f} (scale {scale})" for scale, ratio in sorted(scores.ratios.items()))
    command = shlex.join(["python", "-m", "benchmarks.picking", *(sys.argv[1:] if arguments is None else arguments)])
    head = (
        f"{date.today().isoformat()}, {platform.machine()}, {torch.get_num_threads()} threads, torch "
        f"{torch.__version__}; `{command}`; {options.prompts} prompts x {options.seeds} seeds, N = {options.steps}, "
        f"guidance {options.guidance:g}, {options.tastes} tastes; r = {ratios or 'not needed'}."
    )
    (folder / "table.md").write_text(f"{head}\n\n{markdown_table(lines)}")
    (folder / "differences.md").write_text(f"{head}\n\n{differences(lines, options.against)}")
    write_csv(lines, folder / "table.csv")
    plot(lines, folder / "kept.png")
    print((folder / "table.md").read_text())


if __name__ == "__main__":
    main()
