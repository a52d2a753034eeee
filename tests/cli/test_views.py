"""The contact sheet and the page: what is on them, and that nothing typed by a user gets out of its place."""

from __future__ import annotations

import base64
import hashlib
import io
import re
from html.parser import HTMLParser

import pytest
from PIL import Image

from commutant.adapters.sheet import Cost
from commutant.integrations.sheets.contact_sheet import PAPER, contact_sheet
from commutant.integrations.sheets.folder import png
from commutant.integrations.sheets.page import page
from commutant.integrations.sheets.record import PreviewRecord, SheetRecord, file_names

from .fakes import CALL, picture, record

HOSTILE = """</title><script>alert(1)</script>"><img src=x onerror=alert(2)> & 'quotes' "double" </code>"""


def filled(count: int, prompt: str = "a fox") -> SheetRecord:
    names = [file_names(seed) for seed in range(count)]
    cost = Cost(1, 2, 6, 0.4, 0.2, 0.7)
    entries = tuple(PreviewRecord(s, n["image"], n["tape"], "0" * 64, cost) for s, n in enumerate(names))
    return record(call={**CALL, "prompt": prompt}, previews=entries)


class Tags(HTMLParser):
    """All start tags with their attributes, and the text outside script and style."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if not self.tags or self.tags[-1][0] not in ("script", "style"):
            self.text.append(data)

    def named(self, name: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.tags if tag == name]


@pytest.mark.parametrize("hostile", [HOSTILE, "<b>bold", "\"' onload=x", "&lt;script&gt;"])
def test_page_escapes_what_users_type(hostile: str) -> None:
    plain = Tags(page(filled(3), {s: png(picture(s)) for s in range(3)}, path="sheet"))
    tags = Tags(page(filled(3, hostile), {s: png(picture(s)) for s in range(3)}, path=f"sheet{hostile}"))
    assert [t for t, _ in tags.tags] == [t for t, _ in plain.tags], "the prompt or the path made a tag"
    assert [sorted(a) for _, a in tags.tags] == [sorted(a) for _, a in plain.tags], "... or an attribute"
    assert hostile.split()[0] in "".join(tags.text)


def test_the_escaping_test_notices_an_unescaped_page() -> None:
    text = page(filled(1, "MARK"), {})
    assert [t for t, _ in Tags(text.replace("MARK", HOSTILE)).tags] != [t for t, _ in Tags(text).tags]


def test_page_is_self_contained_and_its_policy_allows_only_its_own_script() -> None:
    text = page(filled(2), {s: png(picture(s)) for s in range(2)}, {1: png(picture(1))})
    tags = Tags(text)
    images = tags.named("img")
    assert len(images) == 3
    assert all((i["src"] or "").startswith("data:image/") for i in images)
    assert not re.search(r"""(src|href)=["']?(?!data:|["'])""", text)
    assert "http" not in text.replace("Content-Security-Policy", "").replace("http-equiv", "")
    policy = next(m["content"] or "" for m in tags.named("meta") if m.get("http-equiv"))
    for tag in ("script", "style"):
        body = re.search(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
        assert body is not None
        digest = base64.b64encode(hashlib.sha256(body[1].encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy


def test_page_holds_the_finish_command_with_a_quoted_path() -> None:
    bar = next(a for a in Tags(page(filled(2), {}, path="my sheets/one")).named("div") if a.get("class") == "bar")
    assert bar["data-command"] == "commutant finish 'my sheets/one'"


def test_large_images_are_embedded_as_jpeg_of_the_same_size() -> None:
    import numpy as np

    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (400, 500, 3), dtype=np.uint8))
    source = Tags(page(filled(1), {0: png(noise)})).named("img")[0]["src"] or ""
    kind, _, data = source.partition(";base64,")
    assert kind == "data:image/jpeg"
    assert Image.open(io.BytesIO(base64.b64decode(data))).size == (500, 400)


@pytest.mark.parametrize("count", [0, 1, 2, 7, 30])
def test_contact_sheet_of_any_length(count: int) -> None:
    made = contact_sheet(filled(count), {s: picture(s) for s in range(count)})
    assert made.width >= 224
    assert made.width < 6000
    assert len(made.getcolors(maxcolors=2**24)) > 2


def test_contact_sheet_shows_every_preview_and_final() -> None:
    reds = {s: Image.new("RGB", (48, 32), (250, s, 0)) for s in range(5)}
    blue = {3: Image.new("RGB", (96, 64), (0, 0, 250))}
    without, made = contact_sheet(filled(5), reds), contact_sheet(filled(5), reds, blue)
    colours = {c for _, c in made.getcolors(maxcolors=2**24)}
    assert {(250, s, 0) for s in range(5)} <= colours
    assert (0, 0, 250) in colours
    assert made.height > without.height


def test_contact_sheet_survives_odd_prompts_and_missing_images() -> None:
    prompts = ["", "x" * 5000, "line\nbreak\tand\x00control", "語 🦊 мост"]
    for prompt in prompts:
        made = contact_sheet(filled(3, prompt), {1: picture(1)})
        assert made.getpixel((1, 1)) == tuple(bytes.fromhex(PAPER[1:]))
