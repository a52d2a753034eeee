"""Previews and transformer caches, against each other and together: the table of docs/caches.md.

    python -m benchmarks.caches --autocast --markdown docs/caches-table.md

On the embedded model with true classifier-free guidance, every row for every pair of prompt and seed, the rows of one
pair right after one another: the plain run; the plain run with each cache of diffusers; the default preview without and
with each cache; and plain runs of as few steps as cost the same.

speedup: wall-clock of the plain run over the row's, decoding included, median over pairs; cpu: the same in processor
seconds, which other programs on the machine disturb less. psnr, haarpsi, sharpness: against the plain run's image, both
at the preview's size. own: PSNR against the final that finishing this very preview gives, which with a cache is the
plain cached run's.
"""

from __future__ import annotations

import argparse
import ast
import io
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from commutant.adapters.diffusers import Previewer
from commutant.integrations import evaluation as metrics
from commutant.integrations.scenes import SCENES_CALL_DEFAULTS, load_scenes

from .consistency import batched, difference, prompts_and_seeds

COLUMNS = ("row", "speedup", "cpu", "psnr", "haarpsi", "sharpness", "own")
PLAIN, PREVIEW = "plain", "preview"
# Shown, and not compared at equal cost: with two passes of guidance the second answers from the first.
UNFIT = "PyramidAttentionBroadcast"
Config = Callable[[Any], Any]


@dataclass
class Measured:
    """One row: seconds and images, pair by pair."""

    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    images: list[Image.Image] = field(default_factory=list)


def caches(steps: int, ratios: Sequence[float]) -> dict[str, Config]:
    """Each cache as its documentation sets it; `ratios` are MagCache's, calibrated on this model."""
    from diffusers import (
        FirstBlockCacheConfig,
        MagCacheConfig,
        PyramidAttentionBroadcastConfig,
        TaylorSeerCacheConfig,
    )

    return {
        "TaylorSeer": lambda _: TaylorSeerCacheConfig(taylor_factors_dtype=torch.float32),
        "FirstBlockCache": lambda _: FirstBlockCacheConfig(threshold=0.2),
        "MagCache": lambda _: MagCacheConfig(num_inference_steps=steps, mag_ratios=list(ratios)),
        UNFIT: lambda pipe: PyramidAttentionBroadcastConfig(
            spatial_attention_block_skip_range=2, current_timestep_callback=lambda: pipe.current_timestep
        ),
    }


def calibrated(pipe: Any, call: dict[str, Any], steps: int) -> list[float]:
    """MagCache's ratios, which it only prints: the mean over the two passes of guidance in one run."""
    from diffusers import MagCacheConfig

    printed = io.StringIO()
    with enabled(pipe, MagCacheConfig(calibrate=True, num_inference_steps=steps)), redirect_stdout(printed):
        pipe(**call)
    found = [ast.literal_eval(line) for line in printed.getvalue().splitlines() if line.startswith("[1")]
    return [float(r) for r in np.mean(found, axis=0)]


@contextmanager
def enabled(pipe: Any, config: Any) -> Iterator[None]:
    """The pipeline with a cache for the length of the block; without one for None."""
    if config is None:
        yield
        return
    pipe.transformer.enable_cache(config)
    try:
        yield
    finally:
        pipe.transformer.disable_cache()


@dataclass(frozen=True)
class Row:
    """kind: "plain" calls the pipeline for `steps` steps, "preview" makes a default preview. cache: its name."""

    name: str
    kind: str
    cache: str | None
    steps: int

    def measure(self, pipe: Any, config: Config | None, call: dict[str, Any], prompt: str, seed: int) -> Measured:
        """This row for one pair."""
        with enabled(pipe, None if config is None else config(pipe)):
            wall, cpu = time.perf_counter(), time.process_time()
            if self.kind == PREVIEW:
                image = Previewer(pipe).preview(prompt, seeds=[seed], progress=False, **call)[0].image
            else:
                image = pipe(**batched(call | {"num_inference_steps": self.steps}, [prompt], [seed])).images[0]
            return Measured([time.perf_counter() - wall], [time.process_time() - cpu], [image])


def rows(names: Sequence[str], steps: int) -> list[Row]:
    """Everything whose cost is not known before."""
    return [
        Row("plain", PLAIN, None, steps),
        *[Row(f"{name}", PLAIN, name, steps) for name in names],
        Row("preview (default)", PREVIEW, None, steps),
        *[Row(f"preview + {name}", PREVIEW, name, steps) for name in names],
    ]


def fewer(costs: dict[str, float], steps: int) -> list[Row]:
    """Plain runs of as few steps as cost what the other rows cost; `costs` as shares of the plain run."""
    alike: dict[int, list[str]] = {}
    for name, cost in costs.items():
        count = max(1, round(cost * steps))
        if count < steps:
            alike.setdefault(count, []).append(name)
    return [
        Row(f"plain in {count} steps (as {', '.join(alike[count])})", PLAIN, None, count)
        for count in sorted(alike, reverse=True)
    ]


def line(row: Row, found: dict[str, Measured], size: tuple[int, int]) -> tuple[dict[str, Any], np.ndarray]:
    """A row of the table, and its PSNR pair by pair."""
    made, plain = found[row.name], found["plain"]
    pictures = [metrics.area_reduced(image, size) for image in made.images]

    def score(metric: Callable[..., float], finals: Measured) -> np.ndarray:
        return np.array([metric(p, metrics.area_reduced(f, size)) for p, f in zip(pictures, finals.images)])

    psnr = score(metrics.psnr, plain)
    own = score(metrics.psnr, found[row.cache or "plain"]).mean() if row.kind == PREVIEW else None
    out = {
        "row": row.name,
        "speedup": f"{np.median(np.array(plain.wall) / made.wall):.2f}",
        "cpu": f"{np.median(np.array(plain.cpu) / made.cpu):.2f}",
        "psnr": f"{psnr.mean():.2f}",
        "haarpsi": f"{score(metrics.haarpsi, plain).mean():.4f}",
        "sharpness": f"{score(metrics.sharpness, plain).mean():.2f}",
        "own": "" if own is None else f"{own:.2f}",
    }
    return out, psnr


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=16)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--true-cfg", type=float, default=SCENES_CALL_DEFAULTS["true_cfg_scale"])
    parser.add_argument(
        "--autocast", action="store_true", help="bfloat16 autocast: several times faster where the CPU has it"
    )
    parser.add_argument("--markdown", type=Path, help="write the table, with date and machine, as markdown")
    options = parser.parse_args(arguments)
    with torch.autocast("cpu", torch.bfloat16, enabled=options.autocast):
        text = measured(options)
    print("\n" + text)
    if options.markdown:
        options.markdown.write_text(text)


def measured(options: argparse.Namespace) -> str:
    """Run everything; returns the table as markdown."""
    pipe = load_scenes()
    pipe.set_progress_bar_config(disable=True)
    call = dict(SCENES_CALL_DEFAULTS, num_inference_steps=options.steps, true_cfg_scale=options.true_cfg)
    size = (call["width"] // 2, call["height"] // 2)
    pairs = prompts_and_seeds(options.pairs + 1)
    *prompts, pilot = pairs.prompts
    *seeds, pilot_seed = pairs.seeds

    configs = caches(options.steps, calibrated(pipe, batched(call, [pilot], [pilot_seed]), options.steps))
    table = rows(list(configs), options.steps)

    def run(row: Row, prompt: str, seed: int) -> Measured:
        return row.measure(pipe, configs[row.cache] if row.cache else None, call, prompt, seed)

    first = {row.name: run(row, pilot, pilot_seed).cpu[0] for row in table}
    costs = {n: c / first["plain"] for n, c in first.items() if n != "plain" and UNFIT not in n}
    table += fewer(costs, options.steps)
    found = {row.name: Measured() for row in table}
    for i, (prompt, seed) in enumerate(zip(prompts, seeds)):
        for row in table:
            one, kept = run(row, prompt, seed), found[row.name]
            kept.wall += one.wall
            kept.cpu += one.cpu
            kept.images += one.images
        print(f"pair {i + 1} of {options.pairs}", flush=True)
    return markdown([line(row, found, size) for row in table], options)


def markdown(lines: list[tuple[dict[str, Any], np.ndarray]], options: argparse.Namespace) -> str:
    """The table with its circumstances, and the paired comparisons that a reader will ask about."""
    flag = " --autocast" if options.autocast else ""
    psnr = {out["row"]: values for out, values in lines}
    best = max((n for n in psnr if n.startswith("preview + ")), key=lambda n: psnr[n].mean())
    equal = {w: n for n in psnr if " (as " in n for w in n.rsplit(" (as ", 1)[1].rstrip(")").split(", ")}
    compared = [
        (best, "preview (default)"),
        *[(name, equal[name]) for name in psnr if name in equal],
    ]
    out = [
        f"{date.today().isoformat()}, {platform.machine()} CPU, {torch.get_num_threads()} threads, torch "
        f"{torch.__version__}, {'bfloat16 autocast' if options.autocast else 'float32'}; "
        f"`python -m benchmarks.caches --pairs {options.pairs}{flag}`; {options.pairs} prompt/seed pairs, "
        f"N = {options.steps}, true CFG {options.true_cfg:g}, 256x256 -> 128x128.",
        "",
        "| " + " | ".join(COLUMNS) + " |",
        "|---|" + "---:|" * (len(COLUMNS) - 1),
        *["| " + " | ".join(str(row[c]) for c in COLUMNS) + " |" for row, _ in lines],
        "",
        "PSNR of one row minus another's, with its 95% paired bootstrap interval:",
        "",
        *[f"- {a} minus {b}: {difference(psnr[a], psnr[b])} dB" for a, b in compared],
    ]
    return "\n".join(out) + "\n"


if __name__ == "__main__":
    main()
