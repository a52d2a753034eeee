"""`commutant info`: what is in a sheet folder, and whether its files are whole."""

from __future__ import annotations

import argparse
import json
from typing import Any

from . import values
from .values import printable


def add(commands: Any) -> None:
    """Declare the command."""
    p = commands.add_parser(
        "info",
        help="say what is in a sheet",
        description="Say what is in a sheet and check its files. Needs no model and no framework.",
    )
    p.add_argument("sheet", type=values.utf8, help="the sheet folder")
    p.add_argument("--json", action="store_true", help="machine-readable")
    p.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print it; returns the exit code, which is 0 for a damaged sheet too: telling is the job."""
    from ..sheets.folder import SheetFolder

    folder = SheetFolder.open(arguments.sheet)
    faults = folder.faults()
    print(_as_json(folder, faults) if arguments.json else _as_text(folder, faults))
    return 0


def _as_json(folder: Any, faults: dict[int, str]) -> str:
    data = json.loads(folder.record.to_json())
    cost = folder.record.cost
    data["totals"] = {**cost.to_dict(), "high_resolution_equivalents": cost.equivalents(), "share": cost.relative()}
    data["faults"] = {str(seed): fault for seed, fault in faults.items()}
    text = json.dumps(data, indent=2, ensure_ascii=False)
    return "".join(c if c.isprintable() or c == "\n" else _escaped(c) for c in text)


def _escaped(character: str) -> str:
    # A sheet may come from elsewhere, and JSON leaves DEL, C1 and direction marks as they are.
    return f"\\u{ord(character):04x}" if ord(character) < 0x10000 else json.dumps(character)[1:-1]


def _as_text(folder: Any, faults: dict[int, str]) -> str:
    from ..sheets.record import ranges
    from ..sheets.wording import evaluations, plan_line, seconds, share, size_line

    record = folder.record
    call, cost = record.call, record.cost
    rows = [
        ("prompt", record.prompt),
        ("model", f"{record.model.title}, {record.model.dtype} on {record.model.device}"),
        ("final", f"{size_line(record)}, {call['num_inference_steps']} steps"),
        ("plan", plan_line(record.plan)),
    ]
    rest = {k: v for k, v in call.items() if k not in ("prompt", "width", "height", "num_inference_steps")}
    if rest:
        rows.append(("call", ", ".join(f"{k}={json.dumps(v, ensure_ascii=False)}" for k, v in rest.items())))
    finished = [p.seed for p in record.previews if folder.finished(p.seed)]
    rows += [("previews", ranges(record.seeds) or "none yet"), ("finished", ranges(finished) or "none yet")]
    transforms = [f"{t.image} ({t.how})" for p in record.previews for t in p.transforms]
    if transforms:
        rows.append(("transform", ", ".join(transforms)))
    if record.previews:
        relative = share(cost)
        rows.append(("cost", f"{evaluations(cost)}{f', {relative}' if relative else ''}, {seconds(cost.seconds)}"))
    rows += [("damaged", fault) for fault in faults.values()]
    return "\n".join(f"{name:<9} {printable(value)}" for name, value in rows)
