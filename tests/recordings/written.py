"""Writes the files of this version: tapes of tiny pipelines, a sheet folder, a calibrated plan, an infotext."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import torch

from ..diffusers.tiny import tiny_flux
from . import cases, today

LOOP_SAMPLER = "sample_euler_ancestral"


def write(folder: Path) -> None:
    """Fill `folder`, which is made."""
    folder.mkdir(parents=True)
    pipe = tiny_flux()
    plans = today.plans(today.STEPS)
    for name in today.TAPED:
        (item,) = today.previews(pipe, today.PROMPT, [3], plans[name], **today.CALL)
        today.write_tape(item, folder / f"tape-{name}.safetensors")
    today.write_sheet(pipe, folder / "sheet")
    _write_loop_tape(folder)
    _write_plan(folder)
    said = {"Steps": 20, "Sampler": "Euler a", "CFG scale": 7, "Seed": 5, "Size": "512x768", **today.written_infotext()}
    settings = ", ".join(f"{name}: {value}" for name, value in said.items())
    (folder / "infotext.txt").write_text(f"{today.PROMPT}\nNegative prompt: not\n{settings}\n")


def _write_loop_tape(folder: Path) -> None:
    torch.manual_seed(1234)
    sampler = today.samplers()[LOOP_SAMPLER]
    x, levels = cases.start(), cases.levels("exploding")
    _, tape = today.loop_preview(sampler, cases.wavy, x, levels, today.loop_plans(3)["defect"], "exploding")
    today.write_loop_tape(tape, folder / "tape-k-diffusion.safetensors")


def _write_plan(folder: Path) -> None:
    with tempfile.TemporaryDirectory() as place:
        model, prompts = Path(place) / "tiny", Path(place) / "prompts.txt"
        tiny_flux().save_pretrained(model)
        prompts.write_text(today.PROMPT)
        today.calibrate(model, prompts, Path(place) / "plan.json")
        data = json.loads((Path(place) / "plan.json").read_text())
    data["measured"]["model"] = "tiny"  # not where it lay
    (folder / "plan.json").write_text(json.dumps(data, indent=2) + "\n")
