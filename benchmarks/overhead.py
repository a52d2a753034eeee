"""What a preview costs beyond the model: time in this package's own code, and memory over many previews.

    python -m benchmarks.overhead --previews 200

The profiler counts the time of every function of this package and of the library functions that it calls itself; the
pipeline's own work (model, prompt encoding, decoding, scheduler) is not among it. The share is of the whole time of the
same previews, in one run. Profiling slows Python down and the model hardly, so the true share is smaller. Memory is the
process's resident set, read after every tenth preview.
"""

from __future__ import annotations

import argparse
import cProfile
import gc
import pstats
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

import commutant
from commutant.adapters.diffusers import Previewer
from commutant.integrations.scenes import SCENES_CALL_DEFAULTS, load_scenes

PROMPT = "a fox and a balloon on a night background"
OURS = tuple(f"{Path(commutant.__file__).parent.resolve()}/{room}/" for room in ("adapters", "commutator", "operators"))


def ours(function: tuple[str, int, str]) -> bool:
    """Whether a profiled function is this package's."""
    return str(Path(function[0]).resolve()).startswith(OURS)


def own_seconds(profile: cProfile.Profile) -> float:
    """Seconds in the package's own functions and in what they call of other libraries, callbacks left out.

    Of a library function, the part that our functions called; not of the pipeline call and the scheduler's own step,
    which our functions call too and which are not ours.
    """
    total = 0.0
    for function, (_, _, alone, _, callers) in pstats.Stats(profile).stats.items():  # type: ignore[attr-defined]
        if ours(function):
            total += alone
        elif function[0] == "~":  # built-in: torch and numpy work proper
            total += sum(times[2] for caller, times in callers.items() if ours(caller))
    return total


def resident() -> float:
    """MiB of the process that lie in memory; nan where the system does not tell."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return float("nan")
    return pages * 4096 / 2**20


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--previews", type=int, default=200, help="for the memory; the profile takes eight")
    parser.add_argument("--steps", type=int, default=6, help="of the finals in the memory run")
    options = parser.parse_args(arguments)
    pipe = load_scenes()
    pipe.set_progress_bar_config(disable=True)
    print(profiled(pipe))
    print(grown(pipe, options.previews, options.steps))


def profiled(pipe: Any) -> str:
    """The share of our own code in eight default previews."""
    previewer = Previewer(pipe)
    previewer.preview(PROMPT, seeds=[0], progress=False, **SCENES_CALL_DEFAULTS)  # layouts are found once
    profile = cProfile.Profile()
    profile.enable()
    sheet = previewer.preview(PROMPT, seeds=range(8), progress=False, **SCENES_CALL_DEFAULTS)
    profile.disable()
    own, whole = own_seconds(profile), sheet.cost.seconds
    model = sheet.cost.high_seconds + sheet.cost.low_seconds
    return f"own code {own:.3f} s of {whole:.2f} s ({own / whole:.2%}); model {model / whole:.1%} of the time"


def grown(pipe: Any, previews: int, steps: int) -> str:
    """How the resident set moves over many previews."""
    previewer = Previewer(pipe)
    call = dict(SCENES_CALL_DEFAULTS, num_inference_steps=steps)
    seen = []
    for seed in range(previews):
        previewer.preview(PROMPT, seeds=[seed], progress=False, **call)
        if seed % 10 == 9:
            gc.collect()
            seen.append(resident())
    half = len(seen) // 2
    slope = np.polyfit(np.arange(len(seen) - half), seen[half:], 1)[0] / 10 if len(seen) - half > 1 else float("nan")
    return (
        f"resident set after 10 previews {seen[0]:.0f} MiB, after {10 * len(seen)} {seen[-1]:.0f} MiB; "
        f"over the second half {slope * 1024:+.1f} KiB a preview (torch {torch.__version__})"
    )


if __name__ == "__main__":
    main()
