"""Does commutator-zero guidance lower the commutator? The paper's test, on the embedded model.

    python -m benchmarks.guidance_norms --pairs 32

The quantity is ||D v(x_D, t_D) - v(y, t)|| with the high-resolution velocity at the switch: at t_D, where y = D x_D
(before any correction), and m steps later, on the low-resolution run with and without guidance; likewise in denoised
predictions. Wilcoxon's signed-rank test says whether it rises or falls. Source: arXiv 2604.09227, section on guidance.
"""

from __future__ import annotations

import argparse
import platform
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import torch

from commutant.adapters.diffusers import PipelineField, Previewer
from commutant.commutator import (
    Advance,
    Enter,
    Evaluate,
    Guidance,
    Head,
    Plan,
    Query,
    euler,
    preset,
    sample_norm,
    signed_rank,
    tail,
)
from commutant.integrations.scenes import SCENES_CALL_DEFAULTS, load_scenes

from .consistency import prompts_and_seeds


def norms(field: Any, head: Head, plan: Plan, lows: Sequence[float], steps: int) -> np.ndarray:
    """(2, 2): velocity and denoised, at the switch and `steps` steps later (after their correction)."""
    conversation, reply, step, entered, found = tail(plan, field.path, head), None, 0, None, {}
    while True:
        request = conversation.send(reply)
        reply = None
        if isinstance(request, Evaluate):
            denoised = field.denoised(request.x, request.t)
            reply = field.path.output(denoised, request.x, request.t)
        elif isinstance(request, Enter):
            entered = request.transport.operator
        elif isinstance(request, Advance):
            assert entered is not None
            x, t = request.x, lows[step]
            wanted = entered(head.reference)
            there = entered(field.path.denoised(head.reference, head.state, head.times[head.switch]))
            velocity = float(sample_norm(wanted - request.output)[0])
            denoised = float(sample_norm(there - field.path.denoised(request.output, x, t))[0])
            found[step] = (velocity, denoised)
            if step == steps:
                return np.array([found[0], found[steps]]).T
            reply = Query(euler.euler_step(field.path, request.output, x, t, lows[step + 1]), lows[step + 1])
            step += 1


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
        head, _, lows = euler.record(paper, field.path, field, noise, times)
        found = [norms(field, head, paper.replaced(guidance=g), lows, m) for g in ways.values()]
        for name, table in zip(ways, found):
            # All runs enter at the same state: the norm there is that of the run without corrections.
            measured[name].append(np.stack([found[0][:, 0], table[:, 1]], axis=1))
    text = _report(measured, m, options.pairs)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(text)
    print(text)


def _report(measured: dict[str, list[np.ndarray]], m: int, pairs: int) -> str:
    out = [
        f"{date.today().isoformat()}, {platform.machine()}, torch {torch.__version__}; `python -m "
        f"benchmarks.guidance_norms --pairs {pairs}`; medians of the norm at the switch and {m} steps later.",
        "",
        "| run | norm of | at the switch | later | later is | p (Wilcoxon, two-sided) |",
        "|---|---|---:|---:|---|---:|",
    ]
    for name, found in measured.items():
        for kind, table in zip(("velocity", "denoised"), np.moveaxis(np.array(found), 1, 0)):
            before, after = table[:, 0], table[:, 1]
            test = signed_rank(after, before, ("later", "switch"))
            word = "smaller" if test.median_difference < 0 else "larger"
            out.append(
                f"| {name} | {kind} | {np.median(before):.2f} | {np.median(after):.2f} | {word} | {test.p_value:.1e} |"
            )
    return "\n".join(out) + "\n"


if __name__ == "__main__":
    main()
