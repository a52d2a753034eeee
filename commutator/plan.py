"""A plan: everything that decides how a preview is made, as one small value that can be stored with it."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from ..operators import BlockMean, LinearOperator, SpectralCrop, StridedSelection
from .guidance import Guidance

OPERATORS = ("strided", "mean", "spectral")
MOST_STEPS = 10_000  # a plan may come from elsewhere, and a schedule of that many steps is computed
SELECTIONS = ("first", "random", "argmin", "argmax")


@dataclass(frozen=True)
class Plan:
    """High-resolution head, transport, low-resolution tail.

    Args:
        switch: D, the number of high-resolution steps before the switch (0: start at low resolution from the
            transported noise).
        head_steps: N' < N for a coarse head, run on its own schedule of N' steps; None runs the head on the final's own
            schedule, so that a finish continues it. `switch` counts steps of whichever schedule the head runs on.
        operator: "strided", "mean" or "spectral".
        scale: high over low resolution, above 1 and at most 64; an integer for "strided" and "mean", for "spectral" any
            fraction whose denominator is at most 64. 1 with `tail=0`.
        selection: for "strided", which phase of each block: "first", "random" (per sample, from `selection_seed`),
            "argmin" or "argmax" of the commutator norm, per sample.
        time: "matched", or "same" to stay at the high-resolution times.
        tail: number of low-resolution steps; None keeps one per remaining step. 0 makes the preview without a low
            resolution: it shows the denoised prediction at the switch (`Plan.shown`, `Plan.fewer`).
        guidance: corrections after the switch, or None.
        order: 2 gives first-order samplers (Euler, DDIM) the accuracy of DPM-Solver++(2M) in the steps that are the
            preview's own, those of the tail and of a coarse head (`extrapolation.py`).
        settle: a threshold, or None. The head ends as soon as the denoised prediction moves less than this from one
            evaluation to the next (relative to its norm; `settling.py`), and at `switch` at the latest.

    Raises:
        ValueError: for values outside these, naming the field.
    """

    name: str = "custom"
    switch: int = 10
    head_steps: int | None = None
    operator: str = "mean"
    scale: Fraction = Fraction(2)
    selection: str = "first"
    selection_seed: int = 0
    time: str = "matched"
    tail: int | None = None
    guidance: Guidance | None = None
    order: int = 1
    settle: float | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "scale", _scale(self.scale, 1 if self.tail == 0 else None))
        if self.operator not in OPERATORS:
            raise ValueError(f"operator must be one of {OPERATORS}, got {self.operator!r}")
        if self.operator != "spectral" and self.scale.denominator != 1:
            raise ValueError(f"operator {self.operator!r} needs an integer scale, got {self.scale}; use 'spectral'")
        if self.selection not in SELECTIONS:
            raise ValueError(f"selection must be one of {SELECTIONS}, got {self.selection!r}")
        if self.selection != "first" and self.operator != "strided":
            raise ValueError(f"selection {self.selection!r} needs the 'strided' operator family, got {self.operator!r}")
        if self.selection_seed < 0:
            raise ValueError(f"selection_seed must not be negative, got {self.selection_seed}")
        if self.time not in ("matched", "same"):
            raise ValueError(f"time must be 'matched' or 'same', got {self.time!r}")
        if self.switch < 0:
            raise ValueError(f"switch must not be negative, got {self.switch}")
        if self.tail is not None and self.tail < 0:
            raise ValueError(f"tail must not be negative, got {self.tail}")
        for key in ("switch", "tail", "head_steps"):
            if (getattr(self, key) or 0) > MOST_STEPS:
                raise ValueError(f"{key} must be at most {MOST_STEPS}, got {getattr(self, key)}")
        if self.tail == 0 and (self.operator, self.selection, self.guidance) != ("strided", "first", None):
            raise ValueError(
                "tail=0 has no low resolution, so no operator and no guidance: use Plan.shown or Plan.fewer"
            )
        if self.order not in (1, 2):
            raise ValueError(f"order must be 1 or 2, got {self.order!r}")
        if self.settle is not None and not 0 < self.settle < 1:
            raise ValueError(f"settle must lie between 0 and 1, got {self.settle!r}")
        if self.head_steps is not None and self.head_steps <= self.switch:
            raise ValueError(f"head_steps must exceed the switch step {self.switch}, got {self.head_steps}")
        if self.guidance is not None and self.guidance.reference == "head" and self.switch == 0:
            raise ValueError("guidance by the last answer of the head needs a head: switch must be above 0")

    @property
    def needs_reference(self) -> bool:
        """Whether the high-resolution model is also evaluated at the switch itself."""
        by_norm = self.operator == "strided" and self.selection in ("argmin", "argmax")
        guided = self.guidance is not None and self.guidance.reference == "switch"
        split = self.time == "same" and self.operator != "strided" and self.switch > 0
        return by_norm or guided or split or self.tail == 0

    @property
    def high_evaluations(self) -> int:
        """Guided high-resolution evaluations per preview; with `settle`, the most that there can be."""
        return self.switch + int(self.needs_reference)

    @classmethod
    def shown(cls, switch: int, name: str = "shown", **changes: Any) -> Plan:
        """What a live preview shows: the denoised prediction at step `switch` of the final's own run, decoded."""
        return cls(name, switch, operator="strided", scale=Fraction(1), tail=0, **changes)

    @classmethod
    def fewer(cls, steps: int, name: str = "fewer", **changes: Any) -> Plan:
        """The whole image in `steps` high-resolution steps: the last denoised prediction of a coarse head."""
        return cls.shown(steps - 1, name, head_steps=steps, **changes)

    @property
    def resumes(self) -> bool:
        """Whether a finish continues the recorded head: a coarse head is of no use to it."""
        return self.head_steps is None and self.high_evaluations > 0

    def operators(self) -> tuple[LinearOperator, ...]:
        """The candidate operators, in selection order."""
        if self.operator == "mean":
            return (BlockMean(int(self.scale)),)
        if self.operator == "spectral":
            return (SpectralCrop.by(self.scale),)
        family = StridedSelection.family(int(self.scale))
        return family if self.selection != "first" else family[:1]

    def replaced(self, **changes: Any) -> Plan:
        """A copy with some fields changed; the name becomes "custom" unless given."""
        return dataclasses.replace(self, **{"name": "custom", **changes})

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; `from_dict` is its inverse."""
        out = dataclasses.asdict(self)
        out["scale"] = str(self.scale)
        return out

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Plan:
        """A plan from untrusted JSON values. ValueError names what is missing, unknown or out of range."""
        fields = {f.name for f in dataclasses.fields(cls)}
        values = _exactly("a plan", data, fields)
        whole = {"switch": False, "selection_seed": False, "head_steps": True, "tail": True, "order": False}
        for key, optional in whole.items():
            if not (type(values[key]) is int or (optional and values[key] is None)):
                raise ValueError(f"plan field {key!r} must be a whole number, got {values[key]!r}")
        for key in ("name", "operator", "selection", "time", "scale"):
            if not isinstance(values[key], str):
                raise ValueError(f"plan field {key!r} must be a string, got {values[key]!r}")
        if values["settle"] is not None and type(values["settle"]) not in (int, float):
            raise ValueError(f"plan field 'settle' must be a number, got {values['settle']!r}")
        if values["guidance"] is not None:
            values["guidance"] = _guidance(values["guidance"])
        values["scale"] = _written_scale(values["scale"], 1 if values["tail"] == 0 else None)
        return cls(**values)


def _exactly(what: str, data: Any, fields: set[str]) -> dict[str, Any]:
    """`data` as a dict with exactly these fields; ValueError names the missing and the unknown ones."""
    if not isinstance(data, Mapping):
        raise ValueError(f"{what} must be an object with the fields {sorted(fields)}")
    missing, unknown = fields - set(data), set(data) - fields
    if missing or unknown:
        raise ValueError(f"{what} lacks the fields {sorted(missing)} and has unknown ones {sorted(map(repr, unknown))}")
    return dict(data)


def _guidance(data: Any) -> Guidance:
    values = _exactly("plan field 'guidance'", data, {f.name for f in dataclasses.fields(Guidance)})
    if type(values["steps"]) is not int:
        raise ValueError(f"guidance field 'steps' must be a whole number, got {values['steps']!r}")
    if type(values["weight"]) not in (int, float):
        raise ValueError(f"guidance field 'weight' must be a number, got {values['weight']!r}")
    return Guidance(**values)


def _scale(value: Any, only: int | None = None) -> Fraction:
    """A scale above 1, or the only one there may be."""
    try:
        scale = Fraction(value)
    except (TypeError, ValueError, OverflowError, ZeroDivisionError):
        raise ValueError(f"scale must be a number or a fraction like '4/3', got {value!r}") from None
    near = scale.limit_denominator(64)
    if abs(near - scale) > Fraction(1, 10**6):  # rounding a float such as 4 / 3 is meant; moving the size is not
        raise ValueError(f"scale must have a denominator of at most 64, got {value!r}")
    if only is not None:
        if near != only:
            raise ValueError(f"a preview without low-resolution steps (tail=0) has scale {only}, got {value!r}")
    elif not 1 < near <= 64:
        raise ValueError(f"scale must be above 1 and at most 64 (high over low resolution), got {value!r}")
    return near


def _written_scale(text: str, only: int | None) -> Fraction:
    """A scale from a file: digits only, and few, since Fraction("1e999999999") would compute all of them."""
    if not re.fullmatch(r"[0-9]{1,4}(/[0-9]{1,4})?", text):
        raise ValueError(f"plan field 'scale' must be a fraction like '2' or '4/3', got {text!r:.80}")
    return _scale(text, only)
