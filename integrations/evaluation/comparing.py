"""A comparison from beginning to end, into a folder: scores, tables, the frontier plot and the picture strip."""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from .contest import REFERENCE, Contest
from .entries import Entry, Pair
from .frontier import drawing, plot_frontier
from .ledger import Ledger
from .registry import METRICS
from .run_record import RunRecord
from .strips import strip
from .summary import Summary, markdown_table, workflow_table, write_csv
from .timing import speedups


@dataclass(frozen=True)
class Setting:
    """What is compared on what.

    Attributes:
        call: of the plain final; height, width and num_inference_steps among its arguments.
        timed: how many of the pairs are also timed by the clock (none: no column of speed-ups).
        metrics: names. command: what reproduces it, for the tables' heads.
    """

    call: Mapping[str, Any]
    entries: Sequence[Entry]
    pairs: Sequence[Pair]
    metrics: Sequence[str] = tuple(METRICS)
    timed: int = 0
    command: str = "commutant compare"


def run(previewer: Any, setting: Setting, folder: Path, told: Callable[[str], None]) -> Summary:
    """Compare, or go on comparing, and write everything anew. `told` hears one line a batch of pairs.

    Raises:
        Refusal: the folder holds another comparison (`RunRecord.of`, `Ledger`); matplotlib is not installed.
        UnsupportedError: an entry that the model's pipeline refuses.
    """
    drawing()
    call, names = dict(setting.call), [entry.name for entry in setting.entries]
    ledger = Ledger(folder, names, setting.metrics)
    record = RunRecord.of(folder / "run.json", previewer.fingerprint, call, setting.pairs, bool(ledger.rows))
    record.write()
    size = (call["width"] // 2, call["height"] // 2)
    contest = Contest(previewer, call, setting.entries, size, [METRICS[m] for m in setting.metrics])
    width = previewer.batch_size
    for at in range(ledger.complete(), len(setting.pairs), width):
        ledger.add(contest.run(setting.pairs[at : at + width], at))
        record.ratios |= contest.seconds.ratios
        record.write()
        told(f"{min(at + width, len(setting.pairs))} of {len(setting.pairs)} pairs")
    if setting.timed and not record.speedups:
        told("timing")
        record.speedups = speedups(previewer, call, setting.entries, setting.pairs[: setting.timed])
        record.write()
    summary = Summary(ledger, setting.entries, record.ratios, call["num_inference_steps"])
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
    used = {str(entry.scale) for entry in setting.entries} & summary.ratios.keys()
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
    for name in [REFERENCE, *(entry.name for entry in setting.entries)]:
        paths = [ledger.image_path(pair, name) for pair in range(count)]
        rows[name] = [Image.open(path) if path.exists() else None for path in paths]
    if not any(image is not None for row in rows.values() for image in row):
        return None
    return strip(rows, columns=[f"seed {pair.seed}" for pair in setting.pairs[:count]])
