"""A previewer without a model: previews and finals in microseconds, with real tapes."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np
from PIL import Image

from commutant.adapters.sheet import Cost, Final, Preview
from commutant.commutator import Plan, Tape, preset
from commutant.integrations.sheets.record import ModelRecord, SheetRecord

MODEL = ModelRecord("embedded", None, "float32", "cpu", "f1a9")
CALL = {"prompt": "a fox and a balloon", "height": 64, "width": 96, "num_inference_steps": 6}
PLAN = preset("matched", 6)


def record(**changes: Any) -> SheetRecord:
    return SheetRecord(**{"model": MODEL, "call": dict(CALL), "plan": PLAN, **changes})


def picture(seed: int, size: tuple[int, int] = (48, 32)) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (4, 6, 3), dtype=np.uint8)
    return Image.fromarray(pixels).resize(size)


def tape(seed: int, model: str = MODEL.fingerprint) -> Tape:
    rng = np.random.default_rng(seed)
    noise, state, output = (rng.standard_normal((1, 4, 4), dtype=np.float32) for _ in range(3))
    return Tape((output,), noise, state, (1.0, 0.5, 0.0), {"model": model, "seed": seed})


def preview(seed: int, plan: Plan = PLAN, model: str = MODEL.fingerprint, call: dict[str, Any] = CALL) -> Preview:
    cost = Cost(1, 2, 6, high_seconds=0.4, low_seconds=0.2, seconds=0.7)
    return Preview(seed, seed, picture(seed), tape(seed, model), dict(call), cost, plan)


class FakePreviewer:
    """Stops with `error` before the preview of seed `stop_at`; remembers which seeds it was asked for."""

    def __init__(self, stop_at: int | None = None, error: BaseException | None = None) -> None:
        self.fingerprint = MODEL.fingerprint
        self.stop_at, self.error = stop_at, error or KeyboardInterrupt()
        self.asked: list[int] = []
        self.operators: list[Any] = []

    def stream(
        self, prompt: str, *, seeds: list[int], plan: Plan, progress: bool = True, **call: Any
    ) -> Iterator[Preview]:
        for seed in seeds:
            if seed == self.stop_at:
                raise self.error
            self.asked.append(seed)
            yield preview(seed, plan, self.fingerprint, {"prompt": prompt, **call})

    def refine(self, item: Preview, *, head: int) -> Preview:
        if item.seed == self.stop_at:
            raise self.error
        made = preview(item.seed, item.plan.replaced(head=head, name=item.plan.name), self.fingerprint, dict(item.call))
        longer = dataclasses.replace(made.tape, outputs=(made.tape.outputs[0],) * (head + 1))
        return dataclasses.replace(made, image=picture(item.seed + 1000 * head), tape=longer, index=item.index)

    def finish(self, item: Preview) -> Final:
        if item.seed == self.stop_at:
            raise self.error
        self.asked.append(item.seed or 0)
        return Final(picture(item.seed or 0, (96, 64)), Cost(5, 0, 6, high_seconds=1.0, seconds=1.5))

    def transform(self, item: Preview, operator: Any, *, at: int, seed: int) -> Final:
        self.operators.append(operator)
        return self.finish(item)
