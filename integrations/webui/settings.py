"""What the accordion says: values from a browser, an API client or an infotext, checked, and the plan they make."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

from ...commutator import DEFAULT_PRESET, PRESETS, Plan, preset

MODES = ("off", "preview", "finish")  # "finish" is for buttons and API clients: the final of a request, from its tape
SCALES = ("2", "3", "4", "3/2", "4/3")
MOST_STEPS = 150


@dataclass(frozen=True)
class Settings:
    """The accordion.

    Args:
        mode: "off", "preview" or "finish".
        name: of a preset.
        scale: high over low resolution, as text.
        switch: high-resolution steps; 0 for the preset's.
        corrections: corrected model answers; -1 for the preset's, 0 for none.
    """

    mode: str = "off"
    name: str = DEFAULT_PRESET
    scale: str = "2"
    switch: int = 0
    corrections: int = -1

    @classmethod
    def read(cls, *values: Any) -> Settings:
        """From the controls, in order; what is left out is as by default. ValueError names what cannot be used."""
        if len(values) > 5:
            raise ValueError(f"the Preview accordion has 5 values, got {len(values)}")
        found = dict(zip(("mode", "name", "scale", "switch", "corrections"), values))
        return cls(
            _one_of("mode", found.get("mode", "off"), MODES),
            _one_of("preset", found.get("name", DEFAULT_PRESET), PRESETS),
            _one_of("scale", str(found.get("scale", "2")), SCALES),
            _whole("switch", found.get("switch", 0), 0),
            _whole("corrections", found.get("corrections", -1), -1),
        )

    def plan(self, steps: int, *, tail: bool = True) -> Plan:
        """The plan for a final of `steps` steps. ValueError where there is none.

        `tail` False: one low-resolution step for each that remains, for samplers that cannot take fewer.
        """
        plan = preset(self.name, steps, Fraction(self.scale))
        if self.switch:
            plan = plan.replaced(head=self.switch)
        if plan.head >= steps:
            raise ValueError(f"Preview switch must lie below the {steps} sampling steps, got {plan.head}")
        guidance = plan.stages[-1].guidance
        if self.corrections == 0:
            plan = plan.with_last(guidance=None)
        elif self.corrections > 0:
            if guidance is None:
                raise ValueError(f"the preset {self.name!r} has no corrections: set Preview corrections to -1 or 0")
            plan = plan.with_last(guidance=replace(guidance, steps=self.corrections))
        if plan.steps is not None and (not tail or plan.steps >= steps - plan.head):
            plan = plan.with_last(steps=None)
        return plan

    def infotext(self) -> dict[str, str]:
        """What a preview's infotext says. No value looks like a size: "2x" would be torn apart when it is read."""
        said = {"Preview": self.name, "Preview scale": self.scale}
        if self.switch:
            said["Preview switch"] = str(self.switch)
        if self.corrections >= 0:
            said["Preview corrections"] = str(self.corrections)
        return said


FIELDS = ("Preview", "Preview scale", "Preview switch", "Preview corrections")


def restored(field: str, said: Mapping[str, Any]) -> Any:
    """The value of the accordion's control `field` after an infotext was read; the default where it says nothing.

    An infotext may come from anywhere: a value that the accordion does not offer counts as not said.
    """
    try:
        if field == "mode":
            return "preview" if said.get("Preview") in PRESETS else "off"
        if field == "name":
            return _one_of("Preview", said["Preview"], PRESETS)
        if field == "scale":
            return _one_of("Preview scale", str(said["Preview scale"]), SCALES)
        if field == "switch":
            return _whole("Preview switch", said["Preview switch"], 0)
        return _whole("Preview corrections", said["Preview corrections"], -1)
    except (KeyError, ValueError):
        return getattr(Settings(), field)


def _one_of(what: str, value: Any, known: tuple[str, ...]) -> str:
    if not isinstance(value, str) or value not in known:
        raise ValueError(f"{what} must be one of {', '.join(known)}, got {value!r:.80}")
    return value


def _whole(what: str, value: Any, least: int) -> int:
    text = str(value).strip().removesuffix(".0")
    digits = text.removeprefix("-")
    if not (digits.isascii() and digits.isdigit() and len(digits) < 5) or not least <= int(text) <= MOST_STEPS:
        raise ValueError(f"{what} must be a whole number from {least} to {MOST_STEPS}, got {value!r:.80}")
    return int(text)
