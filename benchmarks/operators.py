"""Speed of every operator against the fastest library way to the same result: the table of docs/operator-speed.md.

    python -m benchmarks.operators --markdown docs/operator-speed-table.md

Ours and every rival run in turn, round by round, in one process; a cell is the median over rounds of the ratio of
times (ours over the library's: below 1 we are faster). Every rival's result is compared with ours before it is timed.
`moved` is the bytes that the operator must read and write; `bandwidth` relates their time to a plain copy's, measured
in the same rounds: 1 is as fast as copying the same number of bytes. torch tensors, float32, eager; PyLops on numpy.
"""

from __future__ import annotations

import argparse
import math
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .rivals import Case, cases

SHAPES = {"image": (1, 4, 128, 128), "video": (1, 16, 16, 128, 128)}
COLUMNS = ("operator", "shape", "fastest library way", "ratio", "microseconds", "moved", "bandwidth")


@dataclass(frozen=True)
class Timing:
    """Seconds per call of every contestant, one list entry a round; the copy is of `bytes` bytes."""

    ours: list[float]
    rivals: dict[str, list[float]]
    copy: list[float]

    def best(self) -> tuple[str, float]:
        """The fastest rival and the median ratio of our time to its."""
        name = min(self.rivals, key=lambda k: float(np.median(self.rivals[k])))
        return name, float(np.median(np.divide(self.ours, self.rivals[name])))

    @property
    def bandwidth(self) -> float:
        """Our bytes per second over a copy's."""
        return float(np.median(np.divide(self.copy, self.ours)))


def seconds(call: Callable[[], Any], times: int) -> float:
    began = time.perf_counter()
    for _ in range(times):
        call()
    return (time.perf_counter() - began) / times


def timed(case: Case, x: torch.Tensor, rounds: int, budget: float) -> Timing:
    """Time a case: in every round each contestant runs for about `budget` seconds, in turn."""
    contestants = {"ours": lambda: case.ours(x)} | {name: way.bound(x) for name, way in case.rivals.items()}
    moved = bytes_moved(case, x)
    source = torch.empty(moved // 8, dtype=torch.float32)  # read once and written once
    contestants["copy"] = source.clone
    counts = {}
    for name, call in contestants.items():
        seconds(call, 3)
        counts[name] = max(1, int(budget / max(1e-7, min(seconds(call, 1) for _ in range(5)))))
    found: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, call in contestants.items():
            found[name].append(seconds(call, counts[name]))
    return Timing(found.pop("ours"), {k: v for k, v in found.items() if k != "copy"}, found["copy"])


def bytes_moved(case: Case, x: torch.Tensor) -> int:
    """What must be read and written: input where it is all needed, and output."""
    return int((x.numel() * case.read + math.prod(case.ours(x).shape)) * x.element_size())


def agree(case: Case, x: torch.Tensor) -> None:
    """AssertionError where a rival computes something else, which would be no comparison."""
    mine = case.ours(x).double().numpy()
    for name, way in case.rivals.items():
        theirs = np.asarray(way.bound(x)(), dtype=np.float64).reshape(mine.shape)
        error = np.abs(mine - theirs).max() / np.abs(mine).max()
        assert error <= way.tolerance, f"{name} differs from {case.name} by {error:.1e}"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--budget", type=float, default=0.02, help="seconds per contestant and round")
    parser.add_argument("--only", default="", help="cases whose name contains this")
    parser.add_argument("--markdown", type=Path, help="write the table, with date and machine, as markdown")
    options = parser.parse_args(arguments)

    lines = []
    for shape_name, shape in SHAPES.items():
        x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
        for case in cases(shape[-2:]):
            if options.only not in case.name:
                continue
            agree(case, x)
            timing = timed(case, x, options.rounds, options.budget)
            best, ratio = timing.best() if case.rivals else ("", float("nan"))
            moved = f"{bytes_moved(case, x) / 2**20:.2f} MiB"
            micro = f"{np.median(timing.ours) * 1e6:.0f}"
            cell = "" if math.isnan(ratio) else f"{ratio:.2f}"
            lines.append((case.name, shape_name, best, cell, micro, moved, f"{timing.bandwidth:.2f}"))
            print(" | ".join(lines[-1]), flush=True)
    text = markdown(lines, options)
    if options.markdown:
        options.markdown.write_text(text)


def markdown(lines: list[tuple[str, ...]], options: argparse.Namespace) -> str:
    """The table with its circumstances."""
    where = f"{platform.machine()} CPU, {torch.get_num_threads()} threads, torch {torch.__version__}"
    sizes = ", ".join(f"{name} {'x'.join(map(str, shape))}" for name, shape in SHAPES.items())
    head = f"{date.today().isoformat()}, {where}; `python -m benchmarks.operators --rounds {options.rounds}`; {sizes}."
    rows = ["| " + " | ".join(line) + " |" for line in lines]
    return "\n".join([head, "", "| " + " | ".join(COLUMNS) + " |", "|---|---|---|---:|---:|---:|---:|", *rows]) + "\n"


if __name__ == "__main__":
    main()
