"""Named plans. `default` is chosen by the measurements in docs/consistency.md."""

from __future__ import annotations

from fractions import Fraction

from .guidance import Guidance
from .plan import Plan

PRESETS = ("matched", "paper", "naive", "direct")
DEFAULT_PRESET = "matched"


def preset(name: str, steps: int, scale: Fraction | int = 2) -> Plan:
    """A named plan for a final of `steps` steps.

    - "paper": arXiv 2604.09227 at N = 30: switch at 10, argmin over the s^2 strided selections, five exact corrections
      with alpha 0.04, the high-resolution schedule kept. For another N the counts keep their proportion.
    - "matched": spectral crop, matched time, a short tail whose first answers are corrected by the defect measured at
      the switch. Any scale.
    - "naive": strided downsampling at the paper's switch, nothing else.
    - "direct": no high-resolution evaluation at all: pooled noise on the matched schedule.

    Raises:
        ValueError: for an unknown name or fewer than two steps.
    """
    if steps < 2:
        raise ValueError(f"a preview needs a final of at least 2 steps, got {steps}")
    scale = Fraction(scale)

    def part(of_thirty: int) -> int:
        return max(1, round(steps * of_thirty / 30))

    if name == "paper":
        guidance = Guidance("exact", steps=part(5), weight=0.04)
        return Plan("paper", part(10), None, "strided", scale, "argmin", time="same", guidance=guidance)
    if name == "matched":
        guidance = Guidance("defect", steps=part(2), weight=1.0, decay="linear")
        return Plan("matched", part(6), None, "spectral", scale, tail=part(5), guidance=guidance)
    if name == "naive":
        return Plan("naive", part(10), None, "strided", scale, time="same")
    if name == "direct":
        return Plan("direct", 0, None, "spectral", scale)
    raise ValueError(f"unknown preset {name!r}; there are {', '.join(PRESETS)}")
