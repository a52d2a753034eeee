"""The page of a sheet: one HTML file that opens offline, to look at previews, mark picks and copy the finish command.

Everything that a user typed (the prompt, the model's name, the folder) is untrusted here: it is escaped, and a content
security policy allows no script and no style but the two of this page, by hash, and no request to anywhere.
"""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Mapping
from html import escape
from importlib.resources import files
from typing import Any

from .sheet_record import PreviewRecord, SheetRecord
from .wording import evaluations, plan_line, quoted, seconds, share, size_line

_EMBEDDED_AS_IS = 256 * 1024  # bytes; larger pictures are embedded as JPEG so that a page of sixty finals still opens
# A ring as drawn by hand with a grease pencil, in a unit box; drawn along its length when a preview is picked.
_RING = (
    '<svg class="ring" viewBox="0 0 100 100" preserveAspectRatio="none" aria-hidden="true"><path pathLength="1" d="'
    "M 61 4 C 30 -3 5 9 3 47 C 1 84 22 98 54 97 C 86 96 99 80 97 45 C 95 13 74 1 38 5"
    '"/></svg>'
)


def page(
    record: SheetRecord,
    previews: Mapping[int, bytes],
    finals: Mapping[int, bytes] | None = None,
    path: str = "sheet",
    moved: Mapping[str, bytes] | None = None,
) -> str:
    """The HTML of a sheet.

    Args:
        record: what is on it.
        previews: PNG files by seed; a seed without one gets an empty frame.
        finals: finished PNG files by seed.
        path: the sheet folder as it stands in the finish command.
        moved: PNG files of moved images by file name.
    """
    finals = finals or {}
    style, script = _asset("page.css"), _asset("page.js")
    policy = (
        f"default-src 'none'; img-src data:; style-src '{_hash(style)}'; script-src '{_hash(script)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    cells = "\n".join(_cell(e, previews.get(e.seed), finals.get(e.seed), moved or {}) for e in record.previews)
    small = " class=small" if _width(previews) < 200 else ""
    title = escape(record.prompt) or "(no prompt)"
    command = escape(f"commutant finish {quoted(path)}")
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="generator" content="commutant">
<title>{title}</title>
<style>{style}</style>
</head>
<body{small}>
<header>
<h1>{title}</h1>
<ul class="facts">
{_facts(record)}
</ul>
<div class="tools"><span>Click the previews worth finishing.</span>{_switch() if finals else ""}</div>
</header>
<main>
{cells}
</main>
<footer>A finish continues the recorded run of its seed: <code>{command} --pick SEED …</code></footer>
<div class="bar" role="status" data-command="{command}" hidden><code></code><button type="button">Copy</button></div>
<script>{script}</script>
</body>
</html>
"""


def _facts(record: SheetRecord) -> str:
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
    return "\n".join(f"<li>{escape(k)}<b>{escape(v)}</b></li>" for k, v in facts.items())


def _cell(entry: PreviewRecord, preview: bytes | None, final: bytes | None, moved: Mapping[str, bytes]) -> str:
    seed = entry.seed
    picture = f'<div class="gone">{escape(entry.image)} is missing</div>'
    if preview is not None:
        picture = f'<img class="preview" src="{_data_uri(preview)}" alt="preview of seed {seed}" loading="lazy">'
    done, state = "", "frame"
    if final is not None:
        picture += f'<img class="final" src="{_data_uri(final)}" alt="final of seed {seed}" loading="lazy">'
        done, state = '<span class="done">finished</span>', "frame finished"
    equivalents = entry.cost.equivalents()
    cost = "" if equivalents is None else f'<span class="cost">{equivalents:.1f} of {entry.cost.full} evals</span>'
    return (
        f'<label class="{state}" title="{escape(evaluations(entry.cost))}">'
        f'<input type="checkbox" value="{seed}" aria-label="seed {seed}"><div class="glass">{picture}{_RING}</div>'
        f'<div class="caption"><span class="seed">seed {seed}</span>{cost}{done}</div>{_moved(entry, moved)}</label>'
    )


def _moved(entry: PreviewRecord, images: Mapping[str, bytes]) -> str:
    """The moved images of a seed, small, each under what was done to it."""
    there = [m for m in entry.moved if m.image in images]
    shown = "".join(
        f'<figure><img src="{_data_uri(images[m.image])}" alt="seed {entry.seed}, {escape(m.how)}" loading="lazy">'
        f"<figcaption>{escape(m.how)}</figcaption></figure>"
        for m in there
    )
    return f'<div class="moved">{shown}</div>' if shown else ""


def _switch() -> str:
    return (
        '<span class="switch"><button type="button" value="previews" aria-pressed="true">Previews</button>'
        '<button type="button" value="finals" aria-pressed="false">Finals</button></span>'
    )


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
