"""What an adapter returns: previews, what each cost, and what a finish of each needs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, overload

import numpy as np

from ..commutator import Plan, Tape


@dataclass(frozen=True)
class Cost:
    """Counted model evaluations and what they amount to. Classifier-free guidance counts double at both resolutions.

    Attributes:
        high, low: samples that went through the model at high and at low resolution.
        full: what one plain high-resolution run of the same samples evaluates.
        high_seconds, low_seconds: wall-clock inside the model; `seconds` is everything, decoding included.
    """

    high: int
    low: int
    full: int
    high_seconds: float = 0.0
    low_seconds: float = 0.0
    seconds: float = 0.0

    @property
    def ratio(self) -> float | None:
        """r, the cost of a low-resolution evaluation in high-resolution ones, as measured in this run."""
        if not (self.high and self.low and self.high_seconds and self.low_seconds):
            return None
        return (self.low_seconds / self.low) / (self.high_seconds / self.high)

    def equivalents(self, ratio: float | None = None) -> float | None:
        """Cost in high-resolution evaluations, `high + r low`; r is the measured one unless given."""
        r = self.ratio if ratio is None else ratio
        if r is None:
            return float(self.high) if not self.low else None
        return self.high + r * self.low

    def relative(self, ratio: float | None = None) -> float | None:
        """`equivalents` as a share of the full high-resolution run: 1 is the price of the final itself."""
        value = self.equivalents(ratio)
        return None if value is None or not self.full else value / self.full

    def __add__(self, other: Cost) -> Cost:
        names = ("high", "low", "full", "high_seconds", "low_seconds", "seconds")
        return Cost(**{n: getattr(self, n) + getattr(other, n) for n in names})

    def to_dict(self) -> dict[str, Any]:
        names = ("high", "low", "full", "high_seconds", "low_seconds", "seconds")
        return {n: getattr(self, n) for n in names}


@dataclass(frozen=True, repr=False)
class Preview:
    """One preview.

    Attributes:
        index: position on the sheet.
        seed: the seed, or None where the user gave a generator.
        image: the decoded low-resolution image, in the requested output type (PIL unless asked otherwise).
        tape: the recorded high-resolution head: what a finish continues from.
        call: keyword arguments of the plain pipeline call that this is a preview of (without the generator).
        cost: counted evaluations; a batch's cost is shared equally among its members.
        cache: what the model's cache remembered after the recorded head, or None. Lives as long as the preview and is
            saved nowhere; without it a finish of a cached run evaluates the head again.
    """

    index: int
    seed: int | None
    image: Any
    tape: Tape
    call: Mapping[str, Any]
    cost: Cost
    plan: Plan
    cache: Any = field(default=None, repr=False, compare=False)

    def __repr__(self) -> str:
        share = self.cost.relative()
        cost = "" if share is None else f", {share:.0%} of a final"
        return f"Preview({self.index}, seed={self.seed}, {self.plan.name}, {self.tape.recorded} answers on tape{cost})"


@dataclass(repr=False)
class Sheet(Sequence[Preview]):
    """The previews of one request, in the order of its seeds.

    Attributes:
        plan: how they were made. model: fingerprint of the pipeline.
        interrupted: True when the user stopped the run; the previews that were ready are here.
    """

    plan: Plan
    model: str
    previews: list[Preview] = field(default_factory=list)
    interrupted: bool = False

    @overload
    def __getitem__(self, index: int) -> Preview: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Preview]: ...
    def __getitem__(self, index: int | slice) -> Preview | Sequence[Preview]:
        return self.previews[index]

    def __len__(self) -> int:
        return len(self.previews)

    def __repr__(self) -> str:
        state = ", interrupted" if self.interrupted else ""
        return f"Sheet({len(self)} previews, {self.plan.name}{state})"

    def __iter__(self) -> Iterator[Preview]:
        return iter(self.previews)

    @property
    def images(self) -> list[Any]:
        """The decoded previews."""
        return [p.image for p in self.previews]

    @property
    def cost(self) -> Cost:
        """The sum over all previews."""
        total = Cost(0, 0, 0)
        for p in self.previews:
            total = total + p.cost
        return total


@dataclass(frozen=True)
class Final:
    """A finished or transformed image.

    Attributes:
        image: in the requested output type (PIL unless asked otherwise).
        cost: `cost.high` counts the evaluations that the tape did not answer.
        latents: the image's latents as the pipeline holds them before decoding, without a batch dimension; None from
            samplers of the caller's own, whose image it is.
    """

    image: Any
    cost: Cost
    latents: Any = field(default=None, repr=False, compare=False)

    def __getattr__(self, name: str) -> Any:
        """A final stands in for its image: `final.save("a.png")`."""
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self.image, name)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        return np.array(self.image, dtype=dtype, copy=copy is not False)
