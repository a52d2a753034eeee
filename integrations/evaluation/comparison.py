"""The same prompts and seeds by many methods, from beginning to end: scores, tables, the frontier plot, the strip.

The plain high-resolution run of a pair is made once and recorded to its end. It is the reference, and every plan whose
head runs on the final's own schedule is answered from the record (`Previewer.with_plan`), so that a comparison of forty
plans costs little more than their low-resolution parts. Costs are those of a preview made from scratch all the same.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from ...adapters.sheet import Preview
from .ledger import Ledger, Outcome, RunRecord
from .methods import Method, Pair, recorded
from .metrics import METRICS, Metric
from .metrics.pictures import area_reduced, array
from .plots import drawing, plot_frontier
from .strips import strip
from .summary import Summary, markdown_table, workflow_table, write_csv

REFERENCE = "the final, reduced"


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


class Comparison:
    """Methods against each other on one model.

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
        methods: Sequence[Method],
        size: tuple[int, int],
        metrics: Sequence[Metric] = tuple(METRICS.values()),
    ) -> None:
        self.previewer, self.call, self.methods, self.size = previewer, dict(call), list(methods), size
        self.chosen = list(metrics)
        self.seconds = Seconds()

    def run(self, pairs: Sequence[Pair], first: int = 0) -> Iterator[Outcome]:
        """Every method on every pair, pairs batch by batch; `first` is the number of the first pair.

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
            plan=recorded(steps),
            progress=False,
            **self.call,
        )
        for preview in whole:
            self.seconds.add(preview, 1)
        references = [area_reduced(final.image, self.size) for final in self.previewer.finish(list(whole))]
        for method in self.methods:
            if method.cache is not None:
                made = cached(self.previewer.pipe, self.call, method.cache, pairs)
            elif method.plan is None:
                made = [(image, 0.0, float(steps), float(steps)) for image in self._plain_low(pairs)]
            else:
                made = [self._counted(p, method) for p in self.previewer.with_plan(list(whole), method.plan)]
            for i, (image, high, low, finish) in enumerate(made):
                picture = array(image) if image.size == self.size else area_reduced(image, self.size)
                values = {metric.name: metric(picture, references[i]) for metric in self.chosen}
                yield Outcome(first + i, method.name, high, low, finish, values, image)
        for i, reference in enumerate(references):
            yield Outcome(first + i, REFERENCE, float(steps), 0.0, 0.0, {}, _image(reference))

    def _counted(self, preview: Preview, method: Method) -> tuple[Any, float, float, float]:
        """(image, high, low, finish): what it would have cost without the record."""
        evaluations = preview.tape.header["evaluations"]
        passes = preview.cost.full / evaluations
        high = preview.tape.recorded if method.is_recorded else preview.cost.high / passes
        self.seconds.add(preview, method.scale)
        return preview.image, float(high), preview.cost.low / passes, float(evaluations - preview.tape.recorded)

    def _plain_low(self, pairs: Sequence[Pair]) -> list[Any]:
        """Plain calls at the preview's size: the same seeds, whose noise is another there."""
        import torch

        call = self.call | {"height": self.call["height"] // 2, "width": self.call["width"] // 2}
        return [
            self.previewer.pipe(p.prompt, generator=torch.Generator().manual_seed(p.seed), **call).images[0]
            for p in pairs
        ]


def _image(picture: Any) -> Any:
    from PIL import Image

    return Image.fromarray((picture * 255.0).round().astype("uint8"))


@dataclass(frozen=True)
class Setting:
    """What is compared on what.

    Attributes:
        call: of the plain final; height, width and num_inference_steps among its arguments.
        timed: how many of the pairs are also timed by the clock (none: no column of speed-ups).
        metrics: names. command: what reproduces it, for the tables' heads.
    """

    call: Mapping[str, Any]
    methods: Sequence[Method]
    pairs: Sequence[Pair]
    metrics: Sequence[str] = tuple(METRICS)
    timed: int = 0
    command: str = "commutant compare"


def run(previewer: Any, setting: Setting, folder: Path, told: Callable[[str], None]) -> Summary:
    """Compare, or go on comparing, and write everything anew. `told` hears one line a batch of pairs.

    Raises:
        Refusal: the folder holds another comparison (`RunRecord.of`, `Ledger`); matplotlib is not installed.
        UnsupportedError: a method that the model's pipeline refuses.
    """
    drawing()
    call, names = dict(setting.call), [method.name for method in setting.methods]
    ledger = Ledger(folder, names, setting.metrics)
    record = RunRecord.of(folder / "run.json", previewer.fingerprint, call, setting.pairs, bool(ledger.rows))
    record.write()
    size = (call["width"] // 2, call["height"] // 2)
    comparison = Comparison(previewer, call, setting.methods, size, [METRICS[m] for m in setting.metrics])
    width = previewer.batch_size
    for at in range(ledger.complete(), len(setting.pairs), width):
        ledger.add(comparison.run(setting.pairs[at : at + width], at))
        record.ratios |= comparison.seconds.ratios
        record.write()
        told(f"{min(at + width, len(setting.pairs))} of {len(setting.pairs)} pairs")
    if setting.timed and not record.speedups:
        told("timing")
        record.speedups = speedups(previewer, call, setting.methods, setting.pairs[: setting.timed])
        record.write()
    summary = Summary(ledger, setting.methods, record.ratios, call["num_inference_steps"])
    write(summary, record, setting, ledger, folder)
    return summary


def write(summary: Summary, record: RunRecord, setting: Setting, ledger: Ledger, folder: Path) -> None:
    """Tables as markdown and CSV, the frontier of HaarPSI and PSNR, and the strip of the first pairs."""
    lines = summary.lines(record.speedups)
    head = circumstances(summary, setting)
    (folder / "table.md").write_text(f"{head}\n\n{markdown_table(lines, summary.metrics)}")
    (folder / "workflow.md").write_text(f"{head}\n\n{workflow_table(lines)}")
    write_csv(lines, summary.metrics, folder / "table.csv")
    for metric in ("haarpsi", "psnr"):
        if metric in summary.metrics:
            title = f"{METRICS[metric].title} of previews against their finals, {summary.pairs} pairs"
            plot_frontier(
                summary.points(metric), folder / f"frontier-{metric}.png", quality=METRICS[metric].title, title=title
            )
    picture = _strip(setting, ledger, min(summary.pairs, ledger.shown))
    if picture is not None:
        picture.save(folder / "strip.webp", quality=90)


def circumstances(summary: Summary, setting: Setting) -> str:
    """Date, machine, command and settings, in one line."""
    call = setting.call
    import torch

    cfg = call.get("true_cfg_scale") or call.get("guidance_scale")
    used = {str(method.scale) for method in setting.methods} & summary.ratios.keys()
    ratios = ", ".join(f"{summary.ratios[s]:.3f}" + f" (scale {s})" * (len(used) > 1) for s in sorted(used))
    return (
        f"{date.today().isoformat()}, {platform.machine()}, {torch.get_num_threads()} threads, torch "
        f"{torch.__version__}; `{setting.command}`; {summary.pairs} prompt/seed pairs, N = "
        f"{call['num_inference_steps']}, guidance {cfg}, {call['width']}x{call['height']} reduced to "
        f"{call['width'] // 2}x{call['height'] // 2}, r = {ratios}."
    )


def _strip(setting: Setting, ledger: Ledger, count: int) -> Any:
    from PIL import Image

    rows: dict[str, list[Any]] = {}
    for name in [REFERENCE, *(method.name for method in setting.methods)]:
        paths = [ledger.image_path(pair, name) for pair in range(count)]
        rows[name] = [Image.open(path) if path.exists() else None for path in paths]
    if not any(image is not None for row in rows.values() for image in row):
        return None
    return strip(rows, columns=[f"seed {pair.seed}" for pair in setting.pairs[:count]])


def speedups(
    previewer: Any, call: Mapping[str, Any], methods: Sequence[Method], pairs: Sequence[Pair], repeats: int = 1
) -> dict[str, float]:
    """How many times faster previews of all `pairs` are than their plain finals, decoding included; medians.

    Plain and preview alternate, and the ratio is taken within each turn, after one run of both that is not counted.
    Timings differ from run to run and from machine to machine; this is a measurement, not a reproducible number.
    """
    prompts, seeds = [p.prompt for p in pairs], [p.seed for p in pairs]

    def finals() -> None:
        import torch

        for pair in pairs:
            previewer.pipe(pair.prompt, generator=torch.Generator().manual_seed(pair.seed), **call)

    def previews(plan: Any) -> Callable[[], Any]:
        return lambda: previewer.preview(prompts, seeds=seeds, plan=plan, progress=False, **call)

    plans = {method.name: method.plan for method in methods if method.plan is not None}
    finals()
    previews(next(iter(plans.values())))()
    out = {}
    for name, plan in plans.items():
        ratios = [1.0 / (_seconds(previews(plan)) / _seconds(finals)) for _ in range(repeats)]
        out[name] = float(np.median(ratios))
    return out


def _seconds(run: Callable[[], Any]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def _first_block(threshold: float) -> Callable[[], Any]:
    def config() -> Any:
        from diffusers import FirstBlockCacheConfig

        return FirstBlockCacheConfig(threshold=threshold)

    return config


def _taylor() -> Any:
    import torch
    from diffusers import TaylorSeerCacheConfig

    return TaylorSeerCacheConfig(taylor_factors_dtype=torch.float32)


CACHES: dict[str, Callable[[], Any]] = {
    "FirstBlockCache .2": _first_block(0.2),
    "FirstBlockCache .5": _first_block(0.5),
    "TaylorSeer": _taylor,
}


def caches_of(pipe: Any) -> list[str]:
    """The caches that this pipeline's model can be given; none where it has one enabled or takes none."""
    model = getattr(pipe, "transformer", None)
    if not hasattr(model, "enable_cache") or getattr(model, "_cache_config", None) is not None:
        return []
    return list(CACHES)


def cached(
    pipe: Any, call: Mapping[str, Any], name: str, pairs: Sequence[Pair]
) -> list[tuple[Any, float, float, float]]:
    """(image, high, low, finish) of plain calls under the cache `name`, which is off again afterwards.

    `high` is what the calls took of the time of plain calls, made in turn, in evaluations of those. A finish is the
    plain run, all of it: the final is the image without a cache.
    """
    steps, out = float(call["num_inference_steps"]), []
    for pair in pairs:
        _, plain = _timed(pipe, call, pair)
        with _enabled(pipe.transformer, CACHES[name]()):
            image, seconds = _timed(pipe, call, pair)
        out.append((image, steps * seconds / plain, 0.0, steps))
    return out


@contextmanager
def _enabled(model: Any, config: Any) -> Any:
    model.enable_cache(config)
    try:
        yield
    finally:
        model.disable_cache()


def _timed(pipe: Any, call: Mapping[str, Any], pair: Pair) -> tuple[Any, float]:
    import torch

    start = time.perf_counter()
    image = pipe(pair.prompt, generator=torch.Generator().manual_seed(pair.seed), **call).images[0]
    return image, time.perf_counter() - start
