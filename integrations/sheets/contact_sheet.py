"""The contact sheet: all previews of a sheet on one picture, finals beside their previews."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .record import SheetRecord
from .wording import plan_line, share, size_line

PAPER, INK, FAINT, MARK, RULE = "#f5f2ec", "#1d1b18", "#837c71", "#c9371f", "#ddd6c9"
_SMALLEST, _LARGEST = 224, 384  # of a cell's longer side, in pixels: details stay visible, forty previews stay one file
_MARGIN, _GAP, _SEAM, _CAPTION = 40, 20, 4, 32
_MOST_PIXELS = 2**26  # in all cells together: thousands of previews get smaller ones
_HEADING, _SECTION, _NARROWEST = 92, 64, 880  # the heading needs some width


@dataclass(frozen=True)
class _Grid:
    """Where everything goes: all previews, then, where there are finals, pairs of preview and final."""

    cell: tuple[int, int]
    columns: int
    rows: int
    pairs: int  # beside each other; 0 without finals
    pair_rows: int

    @property
    def pitch(self) -> tuple[int, int]:
        return self.cell[0] + _GAP, self.cell[1] + _CAPTION + _GAP

    @property
    def pair_pitch(self) -> int:
        return 2 * self.pitch[0]  # in line with the previews above

    @property
    def finals_top(self) -> int:
        return _MARGIN + _HEADING + self.rows * self.pitch[1]

    @property
    def size(self) -> tuple[int, int]:
        across = max(self.columns * self.pitch[0], self.pairs * self.pair_pitch, _NARROWEST)
        finals = _SECTION + self.pair_rows * self.pitch[1] if self.pairs else 0
        return 2 * _MARGIN - _GAP + across, self.finals_top + finals + _MARGIN - _GAP


def contact_sheet(record: SheetRecord, previews: Mapping[int, Any], finals: Mapping[int, Any] | None = None) -> Any:
    """Draw a sheet.

    Args:
        record: what is on it.
        previews: PIL images by seed; a seed without one gets an empty frame.
        finals: finished images by seed, drawn again below beside their previews.

    Returns:
        A PIL image.
    """
    from PIL import Image, ImageDraw

    finals = finals or {}
    grid = _grid(record, previews, len(finals))
    picture = Image.new("RGB", grid.size, PAPER)
    draw = ImageDraw.Draw(picture)
    _heading(draw, record, grid)
    for position, entry in enumerate(record.previews):
        row, column = divmod(position, grid.columns)
        x, y = _MARGIN + column * grid.pitch[0], _MARGIN + _HEADING + row * grid.pitch[1]
        _place(picture, previews.get(entry.seed), (x, y), grid.cell)
        _caption(draw, entry.seed, (x, y + grid.cell[1]), "finished" if entry.seed in finals else None)
    if finals:
        _rule(draw, grid, grid.finals_top + 2)
        draw.text((_MARGIN, grid.finals_top + 20), "Preview and final", fill=INK, font=_font(20))
    for position, seed in enumerate(sorted(finals)):
        row, column = divmod(position, grid.pairs)
        x, y = _MARGIN + column * grid.pair_pitch, grid.finals_top + _SECTION + row * grid.pitch[1]
        _place(picture, previews.get(seed), (x, y), grid.cell)
        _place(picture, finals[seed], (x + grid.cell[0] + _SEAM, y), grid.cell)
        _caption(draw, seed, (x, y + grid.cell[1]))
    return picture


def _grid(record: SheetRecord, previews: Mapping[int, Any], finals: int) -> _Grid:
    first = next(iter(previews.values()), None)
    width, height = first.size if first is not None else (256, 256)
    longer = max(width, height)
    factor = min(_LARGEST, max(_SMALLEST, longer)) / longer
    count = max(1, len(record.previews))
    factor = min(factor, math.sqrt(_MOST_PIXELS / (count * width * height)))
    cell = (max(1, round(width * factor)), max(1, round(height * factor)))
    # As wide as a screen: the number of columns that brings the picture closest to 3:2.
    columns = min(count, max(1, round(math.sqrt(count * 1.5 * (cell[1] + _CAPTION + _GAP) / (cell[0] + _GAP)))))
    columns = max(columns, min(count, math.ceil(_NARROWEST / (cell[0] + _GAP))))
    columns = math.ceil(count / math.ceil(count / columns))  # no nearly empty last row
    pairs = min(finals, max(1, columns // 2))
    return _Grid(cell, columns, math.ceil(count / columns), pairs, math.ceil(finals / pairs) if pairs else 0)


def _rule(draw: Any, grid: _Grid, y: int) -> None:
    draw.line((_MARGIN, y, grid.size[0] - _MARGIN, y), fill=RULE, width=2)


def _heading(draw: Any, record: SheetRecord, grid: _Grid) -> None:
    width = grid.size[0] - 2 * _MARGIN
    draw.text((_MARGIN, _MARGIN - 6), _fitted(draw, record.prompt, _font(26), width), fill=INK, font=_font(26))
    made = f"{record.model.title}  ·  {size_line(record)}, {record.call['num_inference_steps']} steps"
    cost = share(record.cost)
    line = "  ·  ".join([made, plan_line(record.plan), *([cost] if cost else [])])
    draw.text((_MARGIN, _MARGIN + 34), _fitted(draw, line, _font(15), width), fill=FAINT, font=_font(15))
    _rule(draw, grid, _MARGIN + 66)


def _caption(draw: Any, seed: int, below: tuple[int, int], state: str | None = None) -> None:
    font, at = _font(16), (below[0], below[1] + 8)
    draw.text(at, f"seed {seed}", fill=INK, font=font)
    if state is not None:
        draw.text((at[0] + draw.textlength(f"seed {seed}", font=font) + 12, at[1]), state, fill=MARK, font=font)


def _place(picture: Any, image: Any, at: tuple[int, int], cell: tuple[int, int]) -> None:
    from PIL import Image, ImageDraw

    if image is None:
        box = (at[0], at[1], at[0] + cell[0] - 1, at[1] + cell[1] - 1)
        ImageDraw.Draw(picture).rectangle(box, outline=RULE, width=2)
        return
    picture.paste(image.convert("RGB").resize(cell, Image.Resampling.LANCZOS), at)


def _font(size: int) -> Any:
    from PIL import ImageFont

    return ImageFont.load_default(size)  # scalable and built in since Pillow 10.1


def _fitted(draw: Any, text: str, font: Any, width: int) -> str:
    """One line of text that fits, shortened with an ellipsis. Line breaks and control characters become spaces."""
    text = " ".join("".join(c if c.isprintable() else " " for c in text[:2000]).split())
    if draw.textlength(text, font=font) <= width:
        return text
    while text and draw.textlength(text + "…", font=font) > width:
        text = text[: -max(1, len(text) // 20)]
    return text.rstrip() + "…"
