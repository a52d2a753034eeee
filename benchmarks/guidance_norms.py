"""Does commutator-zero guidance lower the commutator? The paper's test, on the embedded model.

    python -m benchmarks.guidance_norms --pairs 32

The quantity is ||D x0hat(x, t) - x0hat(y, t)|| between the high-resolution run x, which goes on, and the low-resolution
run y, with and without guidance; and the same in velocities. At t_D, where y = D x before any correction, and m steps
later. Wilcoxon's signed-rank test says whether it rises or falls, and whether guidance makes it smaller. Source: arXiv
2604.09227, section on guidance.
"""

from __future__ import annotations

import argparse
import platform
from collections.abc import Sequence
from datetime import date
from pathlib import Path

import numpy as np
import torch

from commutant.adapters.diffusers import PipelineField, Previewer
from commutant.commutator import Guidance, guided_report, preset, signed_rank
from commutant.integrations.scenes import SCENES_CALL_DEFAULTS, load_scenes

from .consistency import prompts_and_seeds

FORMS = ("denoised", "output")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=32)
    parser.add_argument("--out", type=Path, default=Path("docs/results/guidance-norms.md"))
    options = parser.parse_args(arguments)

    pipe = load_scenes()
    pipe.set_progress_bar_config(disable=True)
    call, pairs = dict(SCENES_CALL_DEFAULTS), prompts_and_seeds(options.pairs)
    paper = preset("paper", call["num_inference_steps"])
    assert paper.guidance is not None
    m = paper.guidance.steps
    ways: dict[str, Guidance | None] = {
        "without guidance": None,
        "guidance, alpha = 0.01": Guidance("exact", m, 0.01),
        "guidance, alpha = 0.04": paper.guidance,
    }
    measured: dict[str, list[np.ndarray]] = {name: [] for name in ways}
    for prompt, seed in zip(pairs.prompts, pairs.seeds):
        times = Previewer(pipe).preview(prompt, seeds=[seed], plan="direct", progress=False, **call)[0].tape.times
        field = PipelineField(pipe, prompt, **call)
        side = call["height"] // 8
        noise = torch.randn(1, 16, side, side, generator=torch.Generator().manual_seed(seed))
        for name, g in ways.items():
            found = [guided_report(paper.replaced(guidance=g), field.path, field, noise, times, form=f) for f in FORMS]
            measured[name].append(np.array([[report.absolute[0, 0], report.absolute[m, 0]] for report in found]))
            # All runs enter at the same state: the norm there is that of the run without corrections.
            measured[name][-1][:, 0] = measured["without guidance"][-1][:, 0]
    text = _report(measured, m, options.pairs)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(text)
    print(text)


def _report(measured: dict[str, list[np.ndarray]], m: int, pairs: int) -> str:
    out = [
        f"{date.today().isoformat()}, {platform.machine()}, torch {torch.__version__}; `python -m "
        f"benchmarks.guidance_norms --pairs {pairs}`; medians of the norm at the switch and {m} steps later; p of "
        "Wilcoxon's two-sided test against the switch, and against no guidance.",
        "",
        "| run | norm of | at the switch | later | p | p against none |",
        "|---|---|---:|---:|---:|---:|",
    ]
    free = np.array(measured["without guidance"])
    for name, found in measured.items():
        for row, kind in enumerate(("denoised", "velocity")):
            before, after = np.array(found)[:, row].T
            rise = _p(after, before)
            gain = (
                "" if name == "without guidance" else f"{signed_rank(after, free[:, row, 1], ('a', 'b')).p_value:.1e}"
            )
            out.append(f"| {name} | {kind} | {np.median(before):.2f} | {np.median(after):.2f} | {rise} | {gain} |")
    return "\n".join(out) + "\n"


def _p(a: np.ndarray, b: np.ndarray) -> str:
    return f"{signed_rank(a, b, ('a', 'b')).p_value:.1e}"


if __name__ == "__main__":
    main()
