"""Wall-clock of previews against that of the plain finals, in pairs: whatever slows the machine slows both."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from .entries import Entry, Pair


def speedups(
    previewer: Any, call: Mapping[str, Any], entries: Sequence[Entry], pairs: Sequence[Pair], repeats: int = 1
) -> dict[str, float]:
    """How many times faster previews of all `pairs` are than their plain finals, decoding included; medians.

    Plain and preview alternate, and the ratio is taken within each turn, after one run of both that is not counted.
    Timings differ from run to run and from machine to machine; this is a measurement, not a reproducible number.
    """
    prompts, seeds = [p.prompt for p in pairs], [p.seed for p in pairs]

    def finals() -> None:
        import torch

        for pair in pairs:
            previewer.pipe(pair.prompt, generator=torch.Generator().manual_seed(pair.seed), **call)

    def previews(plan: Any) -> Callable[[], Any]:
        return lambda: previewer.preview(prompts, seeds=seeds, plan=plan, progress=False, **call)

    plans = {entry.name: entry.plan for entry in entries if entry.plan is not None}
    finals()
    previews(next(iter(plans.values())))()
    out = {}
    for name, plan in plans.items():
        ratios = [1.0 / (_seconds(previews(plan)) / _seconds(finals)) for _ in range(repeats)]
        out[name] = float(np.median(ratios))
    return out


def _seconds(run: Callable[[], Any]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start
