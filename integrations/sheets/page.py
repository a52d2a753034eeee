"""The page of a sheet: one HTML file that opens offline, to look at previews, mark picks and copy the finish command.

Everything that a user typed (the prompt, the model's name, the folder) is untrusted here: the template (page.html)
escapes it, and a content security policy allows no script and no style but the two of this page, by hash, and no
request to anywhere.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import io
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

from .record import PreviewRecord, SheetRecord
from .wording import evaluations, plan_line, quoted, seconds, share, size_line

_EMBEDDED_AS_IS = 256 * 1024  # bytes; larger pictures are embedded as JPEG so that a page of sixty finals still opens


def page(
    record: SheetRecord,
    previews: Mapping[int, bytes],
    finals: Mapping[int, bytes] | None = None,
    path: str = "sheet",
    transforms: Mapping[str, bytes] | None = None,
) -> str:
    """The HTML of a sheet.

    Args:
        record: what is on it.
        previews: PNG files by seed; a seed without one gets an empty frame.
        finals: finished PNG files by seed.
        path: the sheet folder as it stands in the finish command.
        transforms: PNG files of transformed images by file name.
    """
    from markupsafe import Markup

    finals, transforms = finals or {}, transforms or {}
    style, script = Markup(_asset("page.css")), Markup(_asset("page.js"))  # ours, and not to be escaped
    policy = (
        f"default-src 'none'; img-src data:; style-src '{_hash(style)}'; script-src '{_hash(script)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    return _template().render(
        policy=Markup(policy),  # as a reader of the file may compare it; its quotes are single ones
        style=style,
        script=script,
        title=record.prompt or "(no prompt)",
        small=_width(previews) < 200,
        facts=_facts(record),
        finals=bool(finals),
        cells=(_cell(entry, previews.get(entry.seed), finals.get(entry.seed), transforms) for entry in record.previews),
        command=f"commutant finish {quoted(path)}",
    )


@functools.cache
def _template() -> Any:
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, keep_trailing_newline=True)
    return environment.from_string(_asset("page.html"))


def _facts(record: SheetRecord) -> dict[str, str]:
    call = record.call
    facts = {
        "Model": record.model.title,
        "Final": f"{size_line(record)}, {call['num_inference_steps']} steps",
        "Preview": plan_line(record.plan),
    }
    if record.previews:
        cost, relative = record.cost, share(record.cost)
        facts["Cost so far"] = evaluations(cost) + (f", {relative}" if relative else "")
        facts["Time"] = seconds(cost.seconds)
    return facts


def _cell(
    entry: PreviewRecord, preview: bytes | None, final: bytes | None, transforms: Mapping[str, bytes]
) -> dict[str, Any]:
    """What the template shows of a seed; its transformed images small, each under what was done to it."""
    equivalents = entry.cost.equivalents()
    return {
        "seed": entry.seed,
        "image": entry.image,
        "preview": None if preview is None else _data_uri(preview),
        "final": None if final is None else _data_uri(final),
        "evaluations": evaluations(entry.cost),
        "cost": "" if equivalents is None else f"{equivalents:.1f} of {entry.cost.full} evals",
        "transforms": [(t.how, _data_uri(transforms[t.image])) for t in entry.transforms if t.image in transforms],
    }


def _asset(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _image(data: bytes) -> Any:
    from PIL import Image

    return Image.open(io.BytesIO(data), formats=["PNG"])


def _width(previews: Mapping[int, bytes]) -> int:
    return next((int(_image(data).width) for data in previews.values()), 256)


def _data_uri(data: bytes) -> str:
    kind = "png"
    if len(data) > _EMBEDDED_AS_IS:
        buffer = io.BytesIO()
        _image(data).convert("RGB").save(buffer, format="JPEG", quality=92, subsampling=0)
        kind, data = "jpeg", buffer.getvalue()
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
