"""How like the final is a preview, and at what cost: the tables of docs/results.

    python -m benchmarks.consistency --table main --pairs 200 --timed 4
    python -m benchmarks.consistency --table ablation --pairs 64
    python -m benchmarks.consistency --table sweep --pairs 32
    python -m benchmarks.consistency --table scales --pairs 64 --size 192
    python -m benchmarks.consistency --table main --pairs 64 --true-cfg 1

Prompts and seeds are those of scenes that the embedded model was not trained on. Reference: the plain pipeline's image
of the same prompt and seed, reduced to half its size by area averaging. Cost is in full high-resolution runs, decoding
left out: (HR evaluations + r x LR evaluations) / N, r measured in the same run; speed-ups are wall-clock with decoding.
A run that is stopped goes on where it was.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from commutant.adapters.diffusers import Previewer
from commutant.integrations.evaluation import METRICS, Metric, paired_interval
from commutant.integrations.evaluation.comparison import Setting, run
from commutant.integrations.evaluation.methods import TABLES, Pair
from commutant.integrations.scenes import SCENES_CALL_DEFAULTS, load_scenes
from commutant.integrations.scenes.classifier import composition
from commutant.integrations.scenes.compose import scene_from_seed

from .findings import findings


@dataclass
class Pairs:
    """Prompts and seeds."""

    prompts: list[str]
    seeds: list[int]


def unseen_scenes(count: int) -> list[Any]:
    """Scenes of the generator that no model was trained on."""
    first = 10_000_000  # beyond every training scene
    return [scene_from_seed(first + i) for i in range(count)]


def prompts_and_seeds(count: int) -> Pairs:
    """The prompts of `count` scenes of the generator, none of which the model was trained on, each with a seed."""
    scenes = unseen_scenes(count)
    return Pairs([scene.prompt for scene in scenes], [1000 + i for i in range(count)])


def batched(call: dict[str, Any], prompts: Sequence[str], seeds: Sequence[int]) -> dict[str, Any]:
    """Arguments of one plain call for several prompts."""
    out = dict(call, prompt=list(prompts), generator=[torch.Generator().manual_seed(s) for s in seeds])
    if isinstance(out.get("negative_prompt"), str):
        out["negative_prompt"] = [out["negative_prompt"]] * len(prompts)
    return out


def difference(a: np.ndarray, b: np.ndarray) -> str:
    """Mean of a - b with a paired 95% bootstrap interval."""
    interval = paired_interval(a, b, np.random.default_rng(0))
    return f"{interval.mean:+.3f} [{interval.low:+.3f}, {interval.high:+.3f}]"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", choices=tuple(TABLES), default="main")
    parser.add_argument("--pairs", type=int, default=200)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--true-cfg", type=float, default=SCENES_CALL_DEFAULTS["true_cfg_scale"])
    parser.add_argument("--size", type=int, default=SCENES_CALL_DEFAULTS["height"], help="of the finals, in pixels")
    parser.add_argument("--timed", type=int, default=0, metavar="PAIRS", help="also time this many pairs by the clock")
    parser.add_argument("--out", type=Path, help="folder (default: in docs/results, by table and settings)")
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args(arguments)

    pipe = load_scenes(device=options.device)
    pipe.set_progress_bar_config(disable=True)
    call = dict(SCENES_CALL_DEFAULTS, num_inference_steps=options.steps, true_cfg_scale=options.true_cfg)
    call |= {"height": options.size, "width": options.size}
    made = prompts_and_seeds(options.pairs)
    command = f"python -m benchmarks.consistency --table {options.table} --pairs {options.pairs}"
    name = options.table
    if options.true_cfg != SCENES_CALL_DEFAULTS["true_cfg_scale"]:
        command += f" --true-cfg {options.true_cfg:g}"
        name += f"-cfg-{options.true_cfg:g}"
    if options.size != SCENES_CALL_DEFAULTS["height"]:
        command += f" --size {options.size}"
        name += f"-{options.size}"
    METRICS["objects"] = Metric(
        "objects", "objects", composition(), "higher", True, "objects of either picture that are in both, in place", 3
    )
    setting = Setting(
        call,
        TABLES[options.table](options.steps),
        [Pair(prompt, seed) for prompt, seed in zip(made.prompts, made.seeds)],
        tuple(METRICS),
        options.timed,
        command,
    )
    folder = options.out or Path("docs/results") / name
    summary = run(Previewer(pipe, batch_size=options.batch), setting, folder, lambda line: print(line, flush=True))
    print((folder / "table.md").read_text())
    (folder / "findings.md").write_text(findings(summary, options.table))
    print((folder / "findings.md").read_text())


if __name__ == "__main__":
    main()
