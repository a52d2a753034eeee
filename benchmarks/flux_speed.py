"""How fast previews are at the size of FLUX.1-dev: speed only, the weights are random and the images are noise.

    python -m benchmarks.flux_speed --batches 1 4 --markdown flux-speed.md --csv flux-speed.csv
    python -m benchmarks.flux_speed --tiny     # the same code on a CPU, in seconds: tests the script, measures nothing

The transformer has FLUX.1-dev's geometry (19 double and 38 single blocks, 24 heads of 128), the autoencoder its own, in
bfloat16 at 1024x1024; there are no text encoders, embeddings of 512 tokens are given. Every row is run for the same
seeds, the rows of one repetition right after one another: the plain run, every preset, and all of them under each cache
whose steps do not depend on what the model answers (so not FirstBlockCache: with random weights it skips at random).

speedup: seconds of the plain run over the row's, decoding included, median over repetitions. model, decoder: seconds in
the transformer and in the autoencoder; outside: all the rest; overhead: how much more of that than the plain run has,
which is what the adapter adds, as a share of the row. high, low: evaluations per image, counted. peak: GiB that tensors
took at most, weights included. A preview under a cache takes its heads one by one, whatever the batch.
"""

from __future__ import annotations

import argparse
import csv
import platform
import shlex
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import torch

from commutant.adapters.diffusers import Previewer
from commutant.commutator import PRESETS

from .caches import enabled
from .flux_geometry import FLUX_DEV, TINY, pipeline, request

COLUMNS = ("row", "batch", "seconds", "speedup", "high", "low", "model", "decoder", "outside", "overhead", "peak")
PLAIN = "plain"
# arXiv 2604.09227 on FLUX.1-dev at N = 30: the method alone, and with TaylorSeer.
PUBLISHED = {"paper": 1.53, "paper + TaylorSeer": 3.05}


def caches(steps: int) -> dict[str, Callable[[Any], Any]]:
    """Those whose schedule is fixed beforehand, as their documentation sets them."""
    from diffusers import MagCacheConfig, PyramidAttentionBroadcastConfig, TaylorSeerCacheConfig
    from diffusers.hooks.mag_cache import FLUX_MAG_RATIOS

    return {
        "TaylorSeer": lambda _: TaylorSeerCacheConfig(),
        "MagCache": lambda _: MagCacheConfig(num_inference_steps=steps, mag_ratios=FLUX_MAG_RATIOS),
        "PyramidAttentionBroadcast": lambda pipe: PyramidAttentionBroadcastConfig(
            spatial_attention_block_skip_range=2, current_timestep_callback=lambda: pipe.current_timestep
        ),
    }


@dataclass(frozen=True)
class Row:
    """A preset or the plain run, and the cache it runs under."""

    plan: str
    cache: str | None

    @property
    def name(self) -> str:
        return self.plan if self.cache is None else f"{self.plan} + {self.cache}"


def rows(presets: Sequence[str], names: Sequence[str]) -> list[Row]:
    """Everything that is run: without a cache first, the plain run first of all."""
    return [Row(plan, cache) for cache in (None, *names) for plan in (PLAIN, *presets)]


@dataclass
class Run:
    """One run of a row: seconds, evaluations of one image, and bytes."""

    seconds: float = 0.0
    model: float = 0.0
    decoder: float = 0.0
    high: float = 0.0
    low: float = 0.0
    peak: float = float("nan")

    @property
    def outside(self) -> float:
        return self.seconds - self.model - self.decoder


@dataclass
class Clock:
    """Seconds and rows of both networks, synchronised with the device; rows of the transformer by tokens of a row."""

    model: float = 0.0
    decoder: float = 0.0
    evaluated: dict[int, int] = field(default_factory=dict)

    @contextmanager
    def on(self, pipe: Any) -> Iterator[Clock]:
        """Watch a pipeline for the length of the block."""
        began: list[float] = []

        def before(module: Any, arguments: Any, keywords: Any) -> None:
            began.append(_now(pipe.device))

        def after(module: Any, arguments: Any, keywords: Any, output: Any) -> None:
            self.model += _now(pipe.device) - began.pop()
            count, tokens = keywords["hidden_states"].shape[:2]
            self.evaluated[tokens] = self.evaluated.get(tokens, 0) + count

        decode = pipe.vae.decode

        def timed(*arguments: Any, **keywords: Any) -> Any:
            start = _now(pipe.device)
            out = decode(*arguments, **keywords)
            self.decoder += _now(pipe.device) - start
            return out

        handles = [
            pipe.transformer.register_forward_pre_hook(before, with_kwargs=True),
            pipe.transformer.register_forward_hook(after, with_kwargs=True),
        ]
        vars(pipe.vae)["decode"] = timed
        try:
            yield self
        finally:
            del vars(pipe.vae)["decode"]
            for handle in handles:
                handle.remove()


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def measure(pipe: Any, row: Row, config: Any, call: dict[str, Any], batch: int) -> Run:
    """Run a row once for `batch` seeds."""
    cuda = pipe.device.type == "cuda"
    if cuda:
        torch.cuda.reset_peak_memory_stats(pipe.device)
    seeds = range(100, 100 + batch)
    with enabled(pipe, config), Clock().on(pipe) as clock:
        start = _now(pipe.device)
        if row.plan == PLAIN:
            wide = {n: call[n].expand(batch, *call[n].shape[1:]) for n in ("prompt_embeds", "pooled_prompt_embeds")}
            pipe(**call | wide, generator=[torch.Generator().manual_seed(s) for s in seeds])
        else:
            heads = batch if config is None else 1  # a cache remembers a batch as one, and could not be resumed singly
            previewer = Previewer(pipe, batch_size=batch, head_batch_size=heads)
            previewer.preview(seeds=seeds, plan=row.plan, progress=False, **call)
        seconds = _now(pipe.device) - start
    full = (call["height"] // pipe.vae_scale_factor // 2) * (call["width"] // pipe.vae_scale_factor // 2)
    high = clock.evaluated.get(full, 0) / batch
    low = sum(clock.evaluated.values()) / batch - high
    peak = torch.cuda.max_memory_allocated(pipe.device) / 2**30 if cuda else float("nan")
    return Run(seconds, clock.model, clock.decoder, high, low, peak)


def measured(pipe: Any, table: Sequence[Row], call: dict[str, Any], batch: int, repeats: int) -> dict[str, list[Run]]:
    """All rows, interleaved; one round before that is not counted (kernels are chosen and layouts found in it)."""
    configs = caches(call["num_inference_steps"])
    found: dict[str, list[Run]] = {row.name: [] for row in table}
    for repeat in range(repeats + 1):
        for row in table:
            config = configs[row.cache](pipe) if row.cache else None
            run = measure(pipe, row, config, call, batch)
            if repeat:
                found[row.name].append(run)
        print(f"batch {batch}: {'warmed up' if not repeat else f'{repeat} of {repeats}'}", file=sys.stderr, flush=True)
    return found


def lines(found: dict[str, list[Run]], batch: int) -> list[dict[str, Any]]:
    """Rows of the table, medians over repetitions."""
    plain = found[PLAIN]
    out = []
    for name, runs in found.items():
        seconds = _median([r.seconds for r in runs])
        overhead = _median([r.outside for r in runs]) - _median([r.outside for r in plain])
        out.append(
            {
                "row": name,
                "batch": batch,
                "seconds": round(seconds, 3),
                "speedup": round(_median([p.seconds / r.seconds for p, r in zip(plain, runs)]), 2),
                "high": round(runs[0].high, 2),
                "low": round(runs[0].low, 2),
                "model": round(_median([r.model for r in runs]), 3),
                "decoder": round(_median([r.decoder for r in runs]), 3),
                "outside": round(_median([r.outside for r in runs]), 3),
                "overhead": f"{overhead / seconds:.1%}",
                "peak": round(runs[0].peak, 2),
            }
        )
    return out


def _median(values: Sequence[float]) -> float:
    return float(np.median(values))


def markdown(table: Sequence[dict[str, Any]], circumstances: dict[str, str], steps: int, tiny: bool) -> str:
    """The table, what it is not, and the published figures beside ours (not beside those of a tiny model)."""
    out = [
        ", ".join(circumstances.values()) + ".",
        "",
        "A tiny model on a CPU: these times say nothing about FLUX."
        if tiny
        else "Speed only: the weights are random and no image was looked at.",
        "",
        "| " + " | ".join(COLUMNS) + " |",
        "|---|" + "---:|" * (len(COLUMNS) - 1),
        *["| " + " | ".join("" if line[c] != line[c] else str(line[c]) for c in COLUMNS) + " |" for line in table],
    ]
    if tiny:
        return "\n".join(out) + "\n"
    speed = {(line["row"], line["batch"]): line["speedup"] for line in table}
    batches = sorted({line["batch"] for line in table})
    out += ["", f"Published for FLUX.1-dev at N = 30, and the same rows here at N = {steps}:", ""]
    for name, published in PUBLISHED.items():
        ours = ", ".join(f"{speed[name, b]:.2f}x (batch {b})" for b in batches if (name, b) in speed)
        out.append(f"- {name}: published {published:.2f}x, here {ours or 'not run'}")
    return "\n".join(out) + "\n"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 4], help="images at once")
    parser.add_argument("--steps", type=int, default=30, help="N of the final")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--presets", nargs="+", choices=PRESETS, default=list(PRESETS))
    parser.add_argument("--caches", nargs="*", choices=list(caches(1)), default=list(caches(1)))
    parser.add_argument("--tiny", action="store_true", help="a tiny geometry on the CPU: tests the script")
    parser.add_argument("--csv", type=Path, help="write the table as CSV")
    parser.add_argument("--markdown", type=Path, help="write the table, with date and device, as markdown")
    given = list(sys.argv[1:] if arguments is None else arguments)
    options = parser.parse_args(given)
    if not options.tiny and not torch.cuda.is_available():
        parser.exit(
            2,
            "flux_speed: 12 billion parameters at 1024x1024 are measured on a CUDA device, and torch finds none; "
            "--tiny runs the same code on the CPU\n",
        )
    geometry, device = (TINY, "cpu") if options.tiny else (FLUX_DEV, "cuda")
    pipe = pipeline(geometry, device)
    call = request(geometry, options.steps, device)
    table: list[dict[str, Any]] = []
    for batch in options.batches:
        found = measured(pipe, rows(options.presets, options.caches), call, batch, options.repeats)
        table += lines(found, batch)
    where = f"{geometry.side}x{geometry.side}, N = {options.steps}, bfloat16"
    circumstances = {
        "date": date.today().isoformat(),
        "device": torch.cuda.get_device_name() if device == "cuda" else f"{platform.machine()} CPU",
        "torch": f"torch {torch.__version__}",
        "run": where,
        "command": f"`{shlex.join(['python', '-m', 'benchmarks.flux_speed', *given])}`",
    }
    text = markdown(table, circumstances, options.steps, options.tiny)
    print(text)
    if options.markdown:
        options.markdown.write_text(text)
    if options.csv:
        with options.csv.open("w", newline="") as file:
            writer = csv.DictWriter(file, [*COLUMNS, *circumstances])
            writer.writeheader()
            writer.writerows(line | circumstances for line in table)


if __name__ == "__main__":
    main()
