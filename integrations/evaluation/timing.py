"""Wall-clock of previews against that of the plain finals, in pairs: whatever slows the machine slows both."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from .entries import Entry, Pair


def speedups(
    previewer: Any, call: Mapping[str, Any], entries: Sequence[Entry], pairs: Sequence[Pair], repeats: int = 2
) -> dict[str, float]:
    """How many times faster previews of all `pairs` are than their plain finals, decoding included; medians.

    Plain and preview alternate, and the ratio is taken within each turn. The first turn of everything is not counted.
    Timings differ from run to run and from machine to machine; this is a measurement, not a reproducible number.
    """
    prompts, seeds = [p.prompt for p in pairs], [p.seed for p in pairs]

    def finals() -> None:
        import torch

        for pair in pairs:
            previewer.pipe(pair.prompt, generator=torch.Generator().manual_seed(pair.seed), **call)

    def previews(plan: Any) -> Callable[[], Any]:
        return lambda: previewer.preview(prompts, seeds=seeds, plan=plan, progress=False, **call)

    finals()
    out = {}
    for entry in entries:
        if entry.plan is None:
            continue
        make, ratios = previews(entry.plan), []
        for turn in range(repeats + 1):
            ours, plain = _seconds(make), _seconds(finals)
            if turn:
                ratios.append(plain / ours)
        out[entry.name] = float(np.median(ratios))
    return out


def _seconds(run: Callable[[], Any]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start
