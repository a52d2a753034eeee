"""Speed of the noise warp: against a plain loop over particles, and over sizes.

    python -m benchmarks.noise_warp --markdown docs/noise-warp-table.md

The loop does what the closed form replaces: cell by cell, particle by particle, it draws each increment given those
before it (a Brownian bridge), all channels at once. Both run in turn in one process, drawing of fresh noise included;
`ratio` is the median over rounds of the loop's time over ours. `per pixel` is our time over that of the smallest size:
1 on every row would be exactly linear.
"""

from __future__ import annotations

import argparse
import platform
from collections.abc import Sequence
from datetime import date
from pathlib import Path

import numpy as np

from commutant.operators import Warp

from .operators import seconds
from .rivals import wavy_flow

CHANNELS = 4
COLUMNS = ("image", "milliseconds", "loop, milliseconds", "ratio", "per pixel")


def looped(noise: np.ndarray, flow: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The split of noise (channels, height, width) along a flow, one particle after the other."""
    channels, height, width = noise.shape
    requests: list[list[tuple[int, float]]] = [[] for _ in range(height * width)]
    for i in range(height):
        for j in range(width):
            x, y = j + flow[i, j, 0], i + flow[i, j, 1]
            for q in (int(np.floor(y)), int(np.floor(y)) + 1):
                for p in (int(np.floor(x)), int(np.floor(x)) + 1):
                    weight = (1 - abs(y - q)) * (1 - abs(x - p))
                    if 0 <= q < height and 0 <= p < width and weight > 1e-6:
                        requests[q * width + p].append((i * width + j, weight))
    flat, total, share = noise.reshape(channels, -1), np.zeros((channels, height * width)), np.zeros(height * width)
    for cell, asked in enumerate(requests):
        rest, left = flat[:, cell], 1.0
        whole = sum(weight for _, weight in asked)
        for target, weight in asked:
            part = weight / whole
            # Given what is left of the cell, value `rest` over length `left`, the next increment is a bridge.
            spread = max(0.0, part * (left - part) / left)
            increment = rest * (part / left) + np.sqrt(spread) * rng.standard_normal(channels)
            total[:, target] += increment
            share[target] += part
            rest, left = rest - increment, left - part
            if left <= 1e-12:
                break
    unfed = share == 0
    total[:, unfed], share[unfed] = rng.standard_normal((channels, int(unfed.sum()))), 1.0
    return (total / np.sqrt(share)).reshape(noise.shape)


def measured(size: int, rounds: int, loop: bool) -> tuple[float, float, float]:
    """(our seconds, the loop's, their ratio) at size x size; medians over rounds, nan for a loop that is left out."""
    flow = wavy_flow((size, size))
    noise = np.random.default_rng(0).standard_normal((CHANNELS, size, size), dtype=np.float32)
    partner = Warp(flow).noise_partner()
    rng = np.random.default_rng(1)
    partner(noise, rng)  # the tables are made once for a flow
    ours, loops = [], []
    for _ in range(rounds):
        ours.append(seconds(lambda: partner(noise, rng), 5))
        loops.append(seconds(lambda: looped(noise, flow, rng), 1) if loop else float("nan"))
    return float(np.median(ours)), float(np.median(loops)), float(np.median(np.divide(loops, ours)))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 128, 256, 512, 1024])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--largest-loop", type=int, default=256, help="the loop runs up to this size")
    parser.add_argument("--markdown", type=Path, help="write the table, with date and machine, as markdown")
    options = parser.parse_args(arguments)
    rows, first = [], None
    for size in options.sizes:
        ours, loop, ratio = measured(size, options.rounds, size <= options.largest_loop)
        first = ours / size**2 if first is None else first
        cells = [f"{CHANNELS}x{size}x{size}", f"{ours * 1e3:.2f}"]
        cells += [f"{loop * 1e3:.0f}", f"{ratio:.0f}"] if loop == loop else ["", ""]
        rows.append("| " + " | ".join([*cells, f"{ours / size**2 / first:.2f}"]) + " |")
        print(rows[-1], flush=True)
    head = f"{date.today().isoformat()}, {platform.machine()} CPU, numpy {np.__version__}, float32; "
    head += f"`python -m benchmarks.noise_warp --rounds {options.rounds}`."
    text = "\n".join([head, "", "| " + " | ".join(COLUMNS) + " |", "|---|" + "---:|" * 4, *rows]) + "\n"
    if options.markdown:
        options.markdown.write_text(text)


if __name__ == "__main__":
    main()
