"""`commutant info`: what is in a sheet folder, and whether its files are whole."""

from __future__ import annotations

import argparse
import json
from typing import Any


def add(commands: Any) -> None:
    """Declare the command."""
    p = commands.add_parser(
        "info",
        help="say what is in a sheet",
        description="Say what is in a sheet and check its tapes. Needs no model and no framework.",
    )
    p.add_argument("sheet", help="the sheet folder")
    p.add_argument("--json", action="store_true", help="machine-readable")
    p.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print it; returns the exit code, which is 0 for a sheet with damaged tapes too: telling is the job."""
    from ..sheet_folder import SheetFolder

    folder = SheetFolder.open(arguments.sheet)
    faults = {seed: fault for seed in folder.seeds if (fault := folder.fault(seed))}
    print(_as_json(folder, faults) if arguments.json else _as_text(folder, faults))
    return 0


def _as_json(folder: Any, faults: dict[int, str]) -> str:
    data = json.loads(folder.record.to_json())
    cost = folder.record.cost
    data["totals"] = {**cost.to_dict(), "high_resolution_equivalents": cost.equivalents(), "share": cost.relative()}
    data["faults"] = {str(seed): fault for seed, fault in faults.items()}
    return json.dumps(data, indent=2, ensure_ascii=False)


def _as_text(folder: Any, faults: dict[int, str]) -> str:
    from ..sheet_record import ranges
    from ..wording import evaluations, plan_line, seconds, share, size_line

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
    finished = [p.seed for p in record.previews if p.final is not None]
    rows += [("previews", ranges(record.seeds) or "none yet"), ("finished", ranges(finished) or "none yet")]
    moved = [f"{m.image} ({m.how})" for p in record.previews for m in p.moved]
    if moved:
        rows.append(("moved", ", ".join(moved)))
    if record.previews:
        relative = share(cost)
        rows.append(("cost", f"{evaluations(cost)}{f', {relative}' if relative else ''}, {seconds(cost.seconds)}"))
    rows += [("damaged", fault) for fault in faults.values()]
    return "\n".join(f"{name:<9} {_plain(value)}" for name, value in rows)


def _plain(text: str) -> str:
    # A sheet may come from elsewhere: no control characters on the terminal.
    return "".join(c if c.isprintable() else " " for c in text)
