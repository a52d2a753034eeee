"""A plan: everything that decides how a preview is made, as one small value that can be stored with it.

A preview begins as the final itself, on the final's own schedule: the *head*, recorded and continued by a finish. Then
come *stages*, each a few steps on a coarser schedule at one scale:

    Plan(head=6, stages=(Stage(scale=2, steps=5),))                                a low-resolution end
    Plan(head=0, stages=(Stage(scale=1, steps=8, order=2),))                       the whole image in fewer steps
    Plan(head=8)                                                                   what a live preview shows
    Plan(head=4, stages=(Stage(scale=1, steps=2, order=2), Stage(scale=2, steps=4)))

Where a stage changes the resolution, an operator A carries the trajectory over, and commutator-zero guidance keeps it
where the model said, before, that it should be. All kinds act on the first `steps` steps of the stage and differ in
what they correct and what they cost:

- exact:  the paper's fixed-point correction, `y <- y + w (A u_ref - u(y, t))`, then the model is asked again (one extra
          evaluation per guided step);
- lagged: the same correction of the state without asking again (free; the sampler uses the answer at the old state);
- anchor: the denoised answer is blended towards `A x0hat_ref` (free);
- defect: the commutator measured at the switch is added to the denoised answer (free): the corrected field commutes
          exactly at the switch, as in a multigrid coarse-grid correction.

`A u_ref` and `A x0hat_ref` come from an evaluation at the switch itself, before the resolution changes, or from the
last one before it.

`u` points from noise to image, as the paper's velocity does, whose time runs from noise (0) to image (1). Models of
FLUX's kind predict `v = noise - image`, so there `u = -v`, and `u = -eps` for a model of the noise: a correction with
the sign of `v` would push the state away from what the high-resolution model saw.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, NamedTuple

from ..operators import BlockMean, LinearOperator, SpectralCrop, StridedSelection

KINDS = ("exact", "lagged", "anchor", "defect")
REFERENCES = ("switch", "last")
OPERATORS = ("strided", "mean", "spectral", "fitted", "pixels")
SIGNAL = ("fitted", "pixels")  # those that carry the denoised prediction only; the noise goes through a spectral crop
SELECTIONS = ("first", "random", "argmin", "argmax")
PRESETS = ("staged", "matched", "paper", "naive", "direct", "fewer", "live")
DEFAULT_PRESET = "staged"
SAMPLER_PRESETS = ("matched", "paper", "naive", "direct")  # of samplers of any order whose states are their own
DEFAULT_SAMPLER_PRESET = "matched"
MOST_STEPS = 10_000  # of a head or a stage: no sampler is run that long, and a plan from a file must not try
MOST_STAGES = 16


@dataclass(frozen=True)
class Guidance:
    """Which correction, for how many steps after the switch, how strong.

    Args:
        kind: one of "exact", "lagged", "anchor", "defect" (module docstring).
        steps: m, the number of guided steps after the switch, at least 1.
        weight: alpha of the paper for exact and lagged; the first blend or correction weight in (0, 1] for the others.
        decay: "constant", or "linear" (the weight falls to zero after `steps`).
        reference: "switch" evaluates the model once more before the resolution changes, at the switch (after a head,
            that answer stays on the tape and saves the finish one evaluation); "last" takes the last answer before the
            switch, which costs nothing.

    Raises:
        ValueError: for values outside these, naming the field.
    """

    kind: str
    steps: int
    weight: float
    decay: str = "constant"
    reference: str = "switch"

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"guidance kind must be one of {KINDS}, got {self.kind!r}")
        if not 1 <= self.steps <= MOST_STEPS:
            raise ValueError(f"guidance steps must lie in 1..{MOST_STEPS}, got {self.steps}")
        if not 0 < self.weight <= 1:
            raise ValueError(f"guidance weight must lie in (0, 1], got {self.weight}")
        if self.decay not in ("constant", "linear"):
            raise ValueError(f"guidance decay must be 'constant' or 'linear', got {self.decay!r}")
        if self.reference not in REFERENCES:
            raise ValueError(f"guidance reference must be one of {REFERENCES}, got {self.reference!r}")

    def at(self, step: float) -> float:
        """The weight in the `step`-th step after the switch (from 0; a part of a step between); 0 once it is over."""
        if step >= self.steps:
            return 0.0
        return self.weight if self.decay == "constant" else self.weight * (1.0 - step / self.steps)


@dataclass(frozen=True)
class Stage:
    """A few steps at one scale, on the rest of the final's schedule read at evenly spaced indices.

    Args:
        scale: the final's side over this stage's: 1 for the final's own resolution; up to 64, an integer for "strided"
            and "mean", for "spectral" any fraction whose denominator is at most 64.
        steps: how many; None takes one for each step that the final's schedule has left (a plan's only stage).
        operator: what carries the trajectory to this scale: "strided", "mean" or "spectral" carry states as they are;
            "fitted" (a linear map fitted to the model's autoencoder) and "pixels" (decode, reduce, encode) carry the
            denoised prediction, and a spectral crop carries the noise. None where the stage before has this scale
            already. With scale 1 always None.
        selection: for "strided", which phase of each block: "first", "random" (per sample, from `selection_seed`),
            "argmin" or "argmax" of the commutator norm, per sample.
        time: "matched", or "same" to stay at the times of the resolution before.
        guidance: corrections after the change of resolution, or None.
        order: 2 gives first-order samplers (Euler, DDIM) the accuracy of DPM-Solver++(2M) in this stage (steps.py).

    Raises:
        ValueError: for values outside these, naming the field.
    """

    scale: Fraction = Fraction(2)
    steps: int | None = None
    operator: str | None = "spectral"
    selection: str = "first"
    selection_seed: int = 0
    time: str = "matched"
    guidance: Guidance | None = None
    order: int = 1

    def __post_init__(self) -> None:
        object.__setattr__(self, "scale", _scale(self.scale))
        if self.scale == 1 and self.operator == "spectral":  # the default: there is nothing to carry over
            object.__setattr__(self, "operator", None)
        if self.steps is not None and not 1 <= self.steps <= MOST_STEPS:
            raise ValueError(f"steps of a stage must lie in 1..{MOST_STEPS}, got {self.steps}")
        if self.operator is not None and self.operator not in OPERATORS:
            raise ValueError(f"operator must be one of {OPERATORS} or None, got {self.operator!r}")
        if self.selection not in SELECTIONS:
            raise ValueError(f"selection must be one of {SELECTIONS}, got {self.selection!r}")
        if self.selection != "first" and self.operator != "strided":
            raise ValueError(f"selection {self.selection!r} needs the 'strided' operator family, got {self.operator!r}")
        if self.selection_seed < 0:
            raise ValueError(f"selection_seed must not be negative, got {self.selection_seed}")
        if self.time not in ("matched", "same"):
            raise ValueError(f"time must be 'matched' or 'same', got {self.time!r}")
        if self.order not in (1, 2):
            raise ValueError(f"order must be 1 or 2, got {self.order!r}")
        if self.scale == 1 and self.operator is not None:
            raise ValueError(f"a stage of scale 1 has the final's resolution: no operator, got {self.operator!r}")
        if self.operator is None and (self.guidance is not None or self.time != "matched"):
            raise ValueError("guidance and time say what happens as the resolution changes; this stage keeps it")

    def reference(self, after_head: bool) -> bool:
        """Whether the model is evaluated at the switch, before the resolution changes."""
        by_norm = self.operator == "strided" and self.selection in ("argmin", "argmax")
        guided = self.guidance is not None and self.guidance.reference == "switch"
        split = self.time == "same" and self.operator in ("mean", "spectral") and after_head
        return by_norm or guided or split

    def candidates(self, before: Fraction) -> tuple[LinearOperator, ...]:
        """The operators from a resolution of scale `before` to this one, in selection order; none where it stays."""
        if self.operator is None:
            return ()
        ratio = self.scale / before
        if self.operator in ("spectral", *SIGNAL):
            return (SpectralCrop.by(ratio),)
        if self.operator == "mean":
            return (BlockMean(int(ratio)),)
        family = StridedSelection.family(int(ratio))
        return family if self.selection != "first" else family[:1]

    @property
    def compared(self) -> bool:
        """Whether each candidate is evaluated, to compare their commutators."""
        return self.selection in ("argmin", "argmax")

    def replaced(self, **changes: Any) -> Stage:
        """A copy with some fields changed."""
        return dataclasses.replace(self, **changes)


class FirstRun(NamedTuple):
    """A plan's run from the noise: its steps, their order, and whether the model is also evaluated after them."""

    steps: int
    reference: bool
    order: int


@dataclass(frozen=True)
class Plan:
    """A head on the final's own schedule, and stages. Without stages, a preview is the head's last denoised prediction.

    Args:
        head: D, the number of the final's own steps before the first stage. 0 with a first stage of scale 1 runs the
            sampler's own schedule of as many steps as the stages have together (plain fewer steps); 0 with a smaller
            first stage starts there from the transported noise.
        stages: one after the other; their scales must not fall.
        early_switch: a threshold, or None. The head ends as soon as the denoised prediction moves less than this from
            one evaluation to the next (relative to its norm; steps.py), and after `head` steps at the latest.

    Raises:
        ValueError: for values outside these, naming the field.
    """

    head: int = 10
    stages: tuple[Stage, ...] = ()
    name: str = "custom"
    early_switch: float | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "stages", tuple(self.stages))
        if not 0 <= self.head <= MOST_STEPS:
            raise ValueError(f"head must lie in 0..{MOST_STEPS} steps, got {self.head}")
        if len(self.stages) > MOST_STAGES:
            raise ValueError(f"a plan has at most {MOST_STAGES} stages, got {len(self.stages)}")
        if not self.head and not self.stages:
            raise ValueError("a plan needs a head or a stage: head=0 without stages shows nothing")
        if self.early_switch is not None and not 0 < self.early_switch < 1:
            raise ValueError(f"early_switch must lie between 0 and 1, got {self.early_switch!r}")
        if self.early_switch is not None and not self.head:
            raise ValueError("early_switch ends a head early: head must be above 0")
        for i, stage in enumerate(self.stages):
            self._check(i, stage)

    def _check(self, i: int, stage: Stage) -> None:
        before = self.scale_before(i)
        if stage.scale < before:
            raise ValueError(f"stage {i} has scale {stage.scale} after {before}: scales must not fall")
        if (stage.scale == before) is not (stage.operator is None):
            changes = "changes the scale and needs an operator" if stage.operator is None else "keeps the scale"
            raise ValueError(f"stage {i} {changes} ({before} to {stage.scale}), got operator {stage.operator!r}")
        ratio = stage.scale / before
        if stage.operator in ("strided", "mean") and ratio.denominator != 1:
            raise ValueError(f"operator {stage.operator!r} needs an integer scale, got {ratio}; use 'spectral'")
        if stage.steps is None and (len(self.stages) > 1 or stage.scale == 1):
            raise ValueError(f"steps=None, one for each step left, is for the only stage at a lower resolution: {i}")
        if stage.operator in SIGNAL and stage.time != "matched":
            raise ValueError(f"operator {stage.operator!r} carries the noise by its own means: time must be 'matched'")
        if stage.operator in SIGNAL and i == 0 and not self.head:
            raise ValueError(
                f"operator {stage.operator!r} carries a denoised prediction: it needs a head or a stage first"
            )
        last = stage.guidance is not None and stage.guidance.reference == "last"
        if last and i == 0 and not self.head:
            raise ValueError("guidance by the last answer before the switch (reference='last') needs a head or a stage")

    @classmethod
    def fewer(cls, steps: int, order: int = 1, name: str = "fewer") -> Plan:
        """The whole image in `steps` high-resolution steps."""
        return cls(0, (Stage(Fraction(1), steps, order=order),), name)

    @classmethod
    def live(cls, head: int, name: str = "live", **changes: Any) -> Plan:
        """What a live preview shows after `head` steps of the final's own run: the denoised prediction, decoded."""
        return cls(head, (), name, **changes)

    @property
    def scale(self) -> Fraction:
        """The final's side over the preview's."""
        return self.stages[-1].scale if self.stages else Fraction(1)

    def scale_before(self, i: int) -> Fraction:
        """The scale of the trajectory that stage `i` begins with."""
        return self.stages[i - 1].scale if i else Fraction(1)

    @property
    def own_schedule(self) -> bool:
        """Whether the run begins with a high-resolution stage on a schedule of its own, of no use to the final."""
        return not self.head and bool(self.stages) and self.stages[0].scale == 1

    @property
    def steps(self) -> int | None:
        """The steps of all stages together; None for one for each step left."""
        counts = [stage.steps for stage in self.stages]
        return None if None in counts else sum(c for c in counts if c is not None)

    def reference(self, i: int) -> bool:
        """Whether the model is evaluated at the switch before stage `i`, at the resolution before.

        At high resolution this is the stage's own first evaluation, of a state that the head leads to as well.
        """
        stage = self.stages[i]
        if i == 0 and stage.scale == 1:
            return self.head > 0
        return stage.reference(after_head=bool(self.head or i))

    @property
    def first_run(self) -> FirstRun:
        """The run from the noise, before the first change of schedule or resolution."""
        if not self.stages:
            return FirstRun(self.head - 1, True, 1)
        if not self.own_schedule:
            return FirstRun(self.head, self.reference(0), 1)
        first, count = self.stages[0], self.stages[0].steps or 0
        if len(self.stages) == 1:
            return FirstRun(count - 1, True, first.order)
        return FirstRun(count, self.reference(1), first.order)

    @property
    def later(self) -> range:
        """The indices of the stages that follow the first run."""
        return range(int(self.own_schedule), len(self.stages))

    @property
    def recorded_steps(self) -> int:
        """Answers of the final's own run that a preview records, in steps; with `early_switch`, at most."""
        if not self.stages:
            return self.head
        return 0 if self.own_schedule else self.head + int(self.reference(0))

    @property
    def resumes(self) -> bool:
        """Whether a finish continues something that the preview recorded."""
        return self.recorded_steps > 0

    def replaced(self, **changes: Any) -> Plan:
        """A copy with some fields changed; the name becomes "custom" unless given."""
        return dataclasses.replace(self, **{"name": "custom", **changes})

    def with_last(self, **changes: Any) -> Plan:
        """A copy with some fields of the last stage changed. ValueError where there is no stage."""
        if not self.stages:
            raise ValueError("the plan has no stage")
        return self.replaced(stages=(*self.stages[:-1], self.stages[-1].replaced(**changes)))

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; `from_dict` is its inverse."""
        out = dataclasses.asdict(self)
        out["stages"] = [{**dataclasses.asdict(stage), "scale": str(stage.scale)} for stage in self.stages]
        return out

    @classmethod
    def from_dict(cls, data: Any) -> Plan:
        """A plan from untrusted JSON values, also in the form that version 0.1 wrote (plan_json.py).

        ValueError names what is missing, unknown or out of range.
        """
        from .plan_json import plan_of

        return plan_of(data)


def preset(name: str, steps: int, scale: Fraction | int = 2) -> Plan:
    """A named plan for a final of `steps` steps. Counts are those at N = 30, in proportion for another N.

    - "staged": three of the final's own steps, four coarse ones at high resolution, four at low resolution, whose first
      answers are corrected by the defect against the last high-resolution one. Any scale.
    - "matched": six own steps and one evaluation at the switch, a spectral crop, five low-resolution steps whose first
      answers are corrected by the defect measured at the switch. Any scale.
    - "paper": arXiv 2604.09227: switch at 10, argmin over the s^2 strided selections, five exact corrections with alpha
      0.04, the high-resolution schedule kept.
    - "naive": strided downsampling at the paper's switch, nothing else.
    - "direct": no high-resolution evaluation at all: pooled noise on the matched schedule.
    - "fewer": the whole image in 8 high-resolution steps. "live": the denoised prediction after 8 of the final's own.

    Args:
        scale: of the low resolution; "fewer" and "live" have none.

    "staged" and "fewer" take steps of second order, for first-order samplers, and "staged" goes through pixels:
    `Previewer.suited` changes that where a scheduler has an order of its own or an autoencoder cannot encode.

    Raises:
        ValueError: for an unknown name or fewer than two steps.
    """
    if steps < 2:
        raise ValueError(f"a preview needs a final of at least 2 steps, got {steps}")
    scale = Fraction(scale)

    def part(of_thirty: int) -> int:
        return max(1, round(steps * of_thirty / 30))

    if name == "staged":
        guidance = Guidance("defect", part(2), 1.0, "linear", "last")
        coarse, low = Stage(Fraction(1), part(4), order=2), Stage(scale, part(4), "pixels", guidance=guidance)
        return Plan(part(3), (coarse, low), "staged")
    if name == "paper":
        guidance = Guidance("exact", steps=part(5), weight=0.04)
        return Plan(part(10), (Stage(scale, None, "strided", "argmin", time="same", guidance=guidance),), "paper")
    if name == "matched":
        guidance = Guidance("defect", steps=part(2), weight=1.0, decay="linear")
        return Plan(part(6), (Stage(scale, part(5), guidance=guidance),), "matched")
    if name == "naive":
        return Plan(part(10), (Stage(scale, None, "strided", time="same"),), "naive")
    if name == "direct":
        return Plan(0, (Stage(scale),), "direct")
    if name == "fewer":
        return Plan.fewer(max(2, part(8)), 2)
    if name == "live":
        return Plan.live(part(8))
    raise ValueError(f"unknown preset {name!r}; there are {', '.join(PRESETS)}")


def _scale(value: Any) -> Fraction:
    """A scale from 1 to 64."""
    try:
        scale = Fraction(value)
    except (TypeError, ValueError, OverflowError, ZeroDivisionError):
        raise ValueError(f"scale must be a number or a fraction like '4/3', got {value!r:.80}") from None
    near = scale.limit_denominator(64)
    if abs(near - scale) > Fraction(1, 10**6):  # rounding a float such as 4 / 3 is meant; moving the size is not
        raise ValueError(f"scale must have a denominator of at most 64, got {value!r:.80}")
    if not 1 <= near <= 64:
        raise ValueError(f"scale must lie between 1 and 64 (high over low resolution), got {value!r:.80}")
    return near
