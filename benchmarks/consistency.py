"""How like the final is a preview, and at what cost: the table of docs/consistency.md.

    python -m benchmarks.consistency --pairs 64 --csv consistency.csv --markdown docs/consistency-table.md

Reference: the plain pipeline's image of the same prompt and seed, reduced to the preview's size by area averaging. All
rows use the same prompts and seeds on the embedded model with true classifier-free guidance. Cost is in full
high-resolution runs: (HR evaluations + r x LR evaluations) / N, r measured in this run; the speed-up is wall-clock,
decoding included.
"""

from __future__ import annotations

import argparse
import csv
import platform
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from commutant.adapters.diffusers import Previewer
from commutant.commutator import Plan
from commutant.integrations import evaluation as metrics
from commutant.integrations.scenes import SCENES_CALL_DEFAULTS, load_scenes
from commutant.integrations.scenes.compose import scene_from_seed

from .rows import Row, rows

COLUMNS = ("plan", "cost", "speedup", "psnr", "haarpsi", "sharpness")


@dataclass
class Pairs:
    """Prompts and seeds, with the finals they lead to and the denoised predictions on the way."""

    prompts: list[str]
    seeds: list[int]
    finals: list[Image.Image] = field(default_factory=list)
    decoded: dict[int, list[Image.Image]] = field(default_factory=dict)
    seconds: float = 0.0

    def batches(self, size: int) -> list[slice]:
        return [slice(i, min(i + size, len(self.seeds))) for i in range(0, len(self.seeds), size)]


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


def reference(pipe: Any, call: dict[str, Any], pairs: Pairs, batch: int, keep: Sequence[int]) -> None:
    """Make the finals; decode the denoised prediction after each number of evaluations in `keep` on the way."""
    pairs.decoded = {n: [] for n in keep}
    for part in pairs.batches(batch):
        states: list[torch.Tensor] = []

        def record(_: Any, step: int, t: Any, values: dict[str, Any], states: list[torch.Tensor] = states) -> dict:
            states.append(values["latents"])
            return values

        began = time.perf_counter()
        arguments = batched(call, pairs.prompts[part], pairs.seeds[part])
        pairs.finals += pipe(**arguments, callback_on_step_end=record).images
        pairs.seconds += time.perf_counter() - began
        sigmas = pipe.scheduler.sigmas
        for n in keep:
            # Euler: the chord between two states is the velocity, and x0hat = x - t v.
            x, x_next = states[n - 2], states[n - 1]
            t, t_next = float(sigmas[n - 1]), float(sigmas[n])
            denoised = x - t * (x_next - x) / (t_next - t)
            pairs.decoded[n] += decode(pipe, denoised, call["height"], call["width"])


@torch.no_grad()
def decode(pipe: Any, latents: torch.Tensor, height: int, width: int) -> list[Image.Image]:
    """What FluxPipeline does with its last latents."""
    latents = pipe._unpack_latents(latents, height, width, pipe.vae_scale_factor)
    latents = latents / pipe.vae.config.scaling_factor + pipe.vae.config.shift_factor
    return pipe.image_processor.postprocess(pipe.vae.decode(latents, return_dict=False)[0], output_type="pil")


@dataclass
class Made:
    """The previews of one row and what they took."""

    images: list[Image.Image]
    high: int
    low: int
    seconds: float
    high_seconds: float = 0.0
    low_seconds: float = 0.0


def make(pipe: Any, call: dict[str, Any], pairs: Pairs, row: Row, batch: int) -> Made:
    """Run one row on all pairs; evaluations are guided ones (the two passes of guidance count as one)."""
    count = len(pairs.seeds)
    if row.kind == "decoded":
        return Made(pairs.decoded[row.steps], row.steps * count, 0, 0.0)
    if row.kind == "plan":
        previewer = Previewer(pipe, batch_size=batch, head_batch_size=batch)
        began = time.perf_counter()
        sheet = previewer.preview(pairs.prompts, seeds=pairs.seeds, plan=row.plan, progress=False, **call)
        seconds = time.perf_counter() - began
        cost = sheet.cost
        passes = cost.full // (call["num_inference_steps"] * count)
        return Made(sheet.images, cost.high // passes, cost.low // passes, seconds, cost.high_seconds, cost.low_seconds)
    changes = {"num_inference_steps": row.steps}
    if row.kind == "low":
        changes = {"height": call["height"] // 2, "width": call["width"] // 2}
    images: list[Image.Image] = []
    began = time.perf_counter()
    for part in pairs.batches(batch):
        images += pipe(**batched(call | changes, pairs.prompts[part], pairs.seeds[part])).images
    seconds = time.perf_counter() - began
    evaluations = count * (call | changes)["num_inference_steps"]
    return Made(images, 0, evaluations, seconds) if row.kind == "low" else Made(images, evaluations, 0, seconds)


def scores(made: Made, pairs: Pairs, size: tuple[int, int]) -> dict[str, np.ndarray]:
    """Every metric for every pair, all at the preview's size."""
    out: dict[str, list[float]] = {"psnr": [], "haarpsi": [], "sharpness": []}
    for image, final in zip(made.images, pairs.finals):
        target = metrics.area_reduced(final, size)
        picture = metrics.area_reduced(image, size)
        for name, values in out.items():
            values.append(getattr(metrics, name)(picture, target))
    return {k: np.array(v) for k, v in out.items()}


def difference(a: np.ndarray, b: np.ndarray) -> str:
    """Mean of a - b with a paired 95% bootstrap interval."""
    found = metrics.paired_interval(a, b, np.random.default_rng(0))
    return f"{found.mean:+.3f} [{found.low:+.3f}, {found.high:+.3f}]"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=64)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--true-cfg", type=float, default=SCENES_CALL_DEFAULTS["true_cfg_scale"])
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--csv", type=Path, help="write the table as CSV")
    parser.add_argument("--markdown", type=Path, help="write the table, with date and machine, as markdown")
    options = parser.parse_args(arguments)

    pipe = load_scenes(dtype=getattr(torch, options.dtype), device=options.device)
    pipe.set_progress_bar_config(disable=True)
    call = dict(SCENES_CALL_DEFAULTS, num_inference_steps=options.steps, true_cfg_scale=options.true_cfg)
    size = (call["width"] // 2, call["height"] // 2)
    ratio = measured_ratio(pipe, call, options.batch)

    def cost(plan: Plan) -> float:
        return _cost(*_planned(plan, options.steps), ratio, options.steps)

    table = rows(options.steps, cost)
    pairs = prompts_and_seeds(options.pairs)
    reference(pipe, call, pairs, options.batch, sorted({r.steps for r in table if r.kind == "decoded"}))
    results, lines = {}, []
    for row in table:
        made = make(pipe, call, pairs, row, options.batch)
        values = scores(made, pairs, size)
        results[row.name] = values
        # A decoded prediction is taken from the reference run: its time is its share of that run.
        seconds = made.seconds or pairs.seconds * row.steps / options.steps
        lines.append(
            {
                "plan": row.name,
                "cost": round(_cost(made.high / options.pairs, made.low / options.pairs, ratio, options.steps), 3),
                "speedup": round(pairs.seconds / seconds, 2),
                **{k: round(float(v.mean()), 4 if k == "haarpsi" else 2) for k, v in values.items()},
            }
        )
        print(" | ".join(str(v) for v in lines[-1].values()), flush=True)
    if options.csv:
        with options.csv.open("w", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS)
            writer.writeheader()
            writer.writerows(lines)
    text = markdown(lines, results, options, ratio)
    print("\n" + text)
    if options.markdown:
        options.markdown.write_text(text)


def measured_ratio(pipe: Any, call: dict[str, Any], batch: int) -> float:
    """r: seconds of a low-resolution evaluation over a high-resolution one, at the batch size of the run (medians)."""
    previewer = Previewer(pipe, batch_size=batch, head_batch_size=batch)
    plan = Plan(switch=3, tail=3)
    found = []
    for repeat in range(3):
        sheet = previewer.preview(
            "a fox", seeds=range(batch), plan=plan, progress=False, **(call | {"num_inference_steps": 6})
        )
        if repeat and sheet.cost.ratio is not None:
            found.append(sheet.cost.ratio)
    return float(np.median(found))


def _planned(plan: Plan, steps: int) -> tuple[float, float]:
    """Guided evaluations per preview that a plan will make, at high and low resolution."""
    from commutant.commutator import RectifiedFlow, evaluation_times

    times = [1 - i / steps for i in range(steps)] + [0.0]
    return plan.high_evaluations, len(evaluation_times(plan, RectifiedFlow(), times, 1.0))


def _cost(high: float, low: float, ratio: float, steps: int) -> float:
    return (high + ratio * low) / steps


def markdown(lines: list[dict[str, Any]], results: dict[str, Any], options: argparse.Namespace, ratio: float) -> str:
    """The table with its circumstances, and the paired comparison that decides the default."""
    command = f"python -m benchmarks.consistency --pairs {options.pairs}"
    where = (
        f"{platform.machine()} CPU, {torch.get_num_threads()} threads" if options.device == "cpu" else options.device
    )
    out = [
        f"{date.today().isoformat()}, {where}, torch {torch.__version__}, {options.dtype}; `{command}`; "
        f"{options.pairs} prompt/seed pairs, N = {options.steps}, true CFG {options.true_cfg:g}, "
        f"256x256 -> 128x128, r = {ratio:.3f}.",
        "",
        "| " + " | ".join(COLUMNS) + " |",
        "|---|" + "---:|" * (len(COLUMNS) - 1),
        *["| " + " | ".join(str(line[c]) for c in COLUMNS) + " |" for line in lines],
        "",
    ]
    default, paper = results["matched (default)"], results["paper"]
    out += [
        f"Default minus paper, {name}: {difference(default[name], paper[name])} (95% paired bootstrap).  "
        for name in ("psnr", "haarpsi")
    ]
    return "\n".join(out) + "\n"


if __name__ == "__main__":
    main()
