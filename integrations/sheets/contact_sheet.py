"""The contact sheet: all previews of a sheet on one picture, finals beside their previews."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..pictures import FAINT, INK, Grid, fitted, font, framed, pasted
from .record import SheetRecord
from .wording import plan_line, share, size_line

PAPER, MARK, RULE = "#f5f2ec", "#c9371f", "#ddd6c9"
_SMALLEST, _LARGEST = 224, 384  # of a cell's longer side, in pixels: details stay visible, forty previews stay one file
_MARGIN, _GAP, _SEAM, _CAPTION = 40, 20, 4, 32
_MOST_PIXELS = 2**26  # in all cells together: thousands of previews get smaller ones
_HEADING, _SECTION, _NARROWEST = 92, 64, 880  # the heading needs some width


@dataclass(frozen=True)
class _Layout:
    """Where everything goes: all previews, and below them, where there are finals, each beside its preview."""

    previews: Grid
    pairs: Grid | None  # of finals beside their previews, in line with the previews above

    @property
    def finals_top(self) -> int:
        return self.previews.end[1] + self.previews.gap[1]

    @property
    def size(self) -> tuple[int, int]:
        grids = [self.previews, *([self.pairs] if self.pairs else [])]
        across = max(*(grid.columns * grid.pitch[0] for grid in grids), _NARROWEST)
        bottom = grids[-1].end[1] + grids[-1].gap[1]
        return 2 * _MARGIN - _GAP + across, bottom + _MARGIN - _GAP


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
    layout = _layout(record, previews, len(finals))
    picture = Image.new("RGB", layout.size, PAPER)
    draw = ImageDraw.Draw(picture)
    _heading(draw, record, layout)
    cell = layout.previews.cell
    for number, entry in enumerate(record.previews):
        x, y = layout.previews.place(number)
        _place(picture, previews.get(entry.seed), (x, y), cell)
        _caption(draw, entry.seed, (x, y + cell[1]), "finished" if entry.seed in finals else None)
    if layout.pairs is not None:
        _rule(draw, layout, layout.finals_top + 2)
        draw.text((_MARGIN, layout.finals_top + 20), "Preview and final", fill=INK, font=font(20))
        for number, seed in enumerate(sorted(finals)):
            x, y = layout.pairs.place(number)
            _place(picture, previews.get(seed), (x, y), cell)
            _place(picture, finals[seed], (x + cell[0] + _SEAM, y), cell)
            _caption(draw, seed, (x, y + cell[1]))
    return picture


def _layout(record: SheetRecord, previews: Mapping[int, Any], finals: int) -> _Layout:
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
    gap = (_GAP, _CAPTION + _GAP)
    grid = Grid(cell, columns, math.ceil(count / columns), gap, (_MARGIN, _MARGIN + _HEADING))
    if not finals:
        return _Layout(grid, None)
    pairs, top = min(finals, max(1, columns // 2)), grid.end[1] + gap[1] + _SECTION
    beside = (cell[0] + 2 * _GAP, gap[1])  # room for the final, which goes where the next preview would
    return _Layout(grid, Grid(cell, pairs, math.ceil(finals / pairs), beside, (_MARGIN, top)))


def _rule(draw: Any, layout: _Layout, y: int) -> None:
    draw.line((_MARGIN, y, layout.size[0] - _MARGIN, y), fill=RULE, width=2)


def _heading(draw: Any, record: SheetRecord, layout: _Layout) -> None:
    width = layout.size[0] - 2 * _MARGIN
    draw.text((_MARGIN, _MARGIN - 6), fitted(draw, record.prompt, font(26), width), fill=INK, font=font(26))
    made = f"{record.model.title}  ·  {size_line(record)}, {record.call['num_inference_steps']} steps"
    cost = share(record.cost)
    line = "  ·  ".join([made, plan_line(record.plan), *([cost] if cost else [])])
    draw.text((_MARGIN, _MARGIN + 34), fitted(draw, line, font(15), width), fill=FAINT, font=font(15))
    _rule(draw, layout, _MARGIN + 66)


def _caption(draw: Any, seed: int, below: tuple[int, int], state: str | None = None) -> None:
    letters, at = font(16), (below[0], below[1] + 8)
    draw.text(at, f"seed {seed}", fill=INK, font=letters)
    if state is not None:
        draw.text((at[0] + draw.textlength(f"seed {seed}", font=letters) + 12, at[1]), state, fill=MARK, font=letters)


def _place(picture: Any, image: Any, at: tuple[int, int], cell: tuple[int, int]) -> None:
    from PIL import ImageDraw

    if image is None:
        framed(ImageDraw.Draw(picture), at, cell, RULE, width=2)
    else:
        pasted(picture, image, at, cell)
