"""The same prompts and seeds by many methods.

The plain high-resolution run of a pair is made once and recorded to its end. It is the reference, and every plan whose
head runs on the final's own schedule is answered from the record (`Previewer.again`), so that a comparison of forty
plans costs little more than their low-resolution parts. Costs are those of a preview made from scratch all the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from ...adapters.sheet import Preview
from ...commutator import Plan
from .cached import cached
from .entries import Entry, Pair
from .pictures import area_reduced, array
from .registry import METRICS, Metric


@dataclass(frozen=True)
class Outcome:
    """One entry on one pair.

    Attributes:
        high, low: guided evaluations that the preview costs at both resolutions, made from scratch.
        finish: guided evaluations that finishing it costs.
        scores: by the name of the metric. image: the preview.
    """

    pair: int
    entry: str
    high: float
    low: float
    finish: float
    scores: Mapping[str, float]
    image: Any = field(repr=False, compare=False, default=None)


@dataclass
class Seconds:
    """Wall-clock inside the model, and samples that went through it: at high resolution, and at low ones by scale."""

    high: tuple[float, int] = (0.0, 0)
    low: dict[str, tuple[float, int]] = field(default_factory=dict)

    def add(self, preview: Preview, scale: Fraction | int) -> None:
        """Count what a preview at this scale took."""
        cost, name = preview.cost, str(scale)
        self.high = (self.high[0] + cost.high_seconds, self.high[1] + cost.high)
        seconds, rows = self.low.get(name, (0.0, 0))
        self.low[name] = (seconds + cost.low_seconds, rows + cost.low)

    @property
    def ratios(self) -> dict[str, float]:
        """r by scale: seconds of a low-resolution evaluation over those of a high-resolution one."""
        seconds, rows = self.high
        if not (seconds and rows):
            return {}
        return {s: (low / count) / (seconds / rows) for s, (low, count) in self.low.items() if count}


class Contest:
    """Entries against each other on one model.

    Args:
        previewer: of the model; its batch size is that of the low-resolution calls.
        call: arguments of the plain call of the final; height and width among them.
        size: (width, height) in pixels that everything is compared at.

    `seconds` collects r at every scale that was run, for `Summary`.
    """

    def __init__(
        self,
        previewer: Any,
        call: Mapping[str, Any],
        entries: Sequence[Entry],
        size: tuple[int, int],
        metrics: Sequence[Metric] = tuple(METRICS.values()),
    ) -> None:
        self.previewer, self.call, self.entries, self.size = previewer, dict(call), list(entries), size
        self.chosen = list(metrics)
        self.seconds = Seconds()

    def run(self, pairs: Sequence[Pair], first: int = 0) -> Iterator[Outcome]:
        """Every entry on every pair, pairs batch by batch; `first` is the number of the first pair.

        Raises whatever the previewer refuses a plan with, before that plan evaluates anything.
        """
        width = self.previewer.batch_size
        for at in range(0, len(pairs), width):
            yield from self._batch(pairs[at : at + width], first + at)

    def _batch(self, pairs: Sequence[Pair], first: int) -> Iterator[Outcome]:
        steps = self.call["num_inference_steps"]
        whole = self.previewer.preview(
            [p.prompt for p in pairs],
            seeds=[p.seed for p in pairs],
            plan=Plan.shown(steps - 1),
            progress=False,
            **self.call,
        )
        for preview in whole:
            self.seconds.add(preview, 1)
        references = [area_reduced(image, self.size) for image in self.previewer.finish(list(whole))]
        for entry in self.entries:
            if entry.cache is not None:
                made = cached(self.previewer.pipe, self.call, entry.cache, pairs)
            elif entry.plan is None:
                made = [(image, 0.0, float(steps), float(steps)) for image in self._plain_low(pairs)]
            else:
                made = [self._counted(preview, entry.plan) for preview in self.previewer.again(list(whole), entry.plan)]
            for i, (image, high, low, finish) in enumerate(made):
                picture = array(image) if image.size == self.size else area_reduced(image, self.size)
                values = {metric.name: metric(picture, references[i]) for metric in self.chosen}
                yield Outcome(first + i, entry.name, high, low, finish, values, image)
        for i, reference in enumerate(references):
            yield Outcome(first + i, REFERENCE, float(steps), 0.0, 0.0, {}, _image(reference))

    def _counted(self, preview: Preview, plan: Plan) -> tuple[Any, float, float, float]:
        """(image, high, low, finish): what it would have cost without the record."""
        evaluations = preview.tape.header["evaluations"]
        passes = preview.cost.full / evaluations
        high = preview.tape.recorded if plan.head_steps is None else preview.cost.high / passes
        self.seconds.add(preview, plan.scale)
        return preview.image, float(high), preview.cost.low / passes, float(evaluations - preview.tape.recorded)

    def _plain_low(self, pairs: Sequence[Pair]) -> list[Any]:
        """Plain calls at the preview's size: the same seeds, whose noise is another there."""
        import torch

        call = self.call | {"height": self.call["height"] // 2, "width": self.call["width"] // 2}
        return [
            self.previewer.pipe(p.prompt, generator=torch.Generator().manual_seed(p.seed), **call).images[0]
            for p in pairs
        ]


REFERENCE = "the final, reduced"


def _image(picture: Any) -> Any:
    from PIL import Image

    return Image.fromarray((picture * 255.0).round().astype("uint8"))
