"""A picture of pictures: one method a row, one seed a column, names at the left."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

_PAPER, _INK, _FAINT = "#ffffff", "#1d1b18", "#837c71"
_MARGIN, _GAP, _ROW_GAP, _HEAD = 12, 4, 4, 26
_WIDEST = 300  # of the names' column, in pixels; longer names are broken into lines


def strip(rows: Mapping[str, Sequence[Any]], *, columns: Sequence[str] = (), cell: int = 128) -> Any:
    """Draw PIL images, each row under its name.

    Args:
        rows: images by the name of the method, all rows equally long; an entry may be None (an empty frame).
        columns: headings, say the seeds; none without.
        cell: width of a cell in pixels. Images keep their proportions: all cells are as high as the first image asks
            for, enlarged by pixel repetition where the factor is whole, so that nothing looks smoother than it is.

    Returns:
        A PIL image.

    Raises:
        ValueError: for no rows, rows of different length, no image at all, or headings that do not match.
    """
    from PIL import Image, ImageDraw

    count = _checked(rows, columns)
    first = next(image for row in rows.values() for image in row if image is not None)
    height = max(1, round(cell * first.height / first.width))
    font = _font(14)
    ruler = ImageDraw.Draw(Image.new("RGB", (1, 1)))
    names = {name: _lines(ruler, name, font) for name in rows}
    side = max((ruler.textlength(line, font=font) for lines in names.values() for line in lines), default=0)
    left = 2 * _MARGIN + round(side)
    top = _MARGIN + (_HEAD if columns else 0)
    size = (left + count * (cell + _GAP) - _GAP + _MARGIN, top + len(rows) * (height + _ROW_GAP) - _ROW_GAP + _MARGIN)
    picture = Image.new("RGB", size, _PAPER)
    draw = ImageDraw.Draw(picture)
    for i, heading in enumerate(columns):
        draw.text((left + i * (cell + _GAP) + cell / 2, _MARGIN + 4), heading, fill=_FAINT, font=_font(13), anchor="mt")
    for j, (name, images) in enumerate(rows.items()):
        y = top + j * (height + _ROW_GAP)
        text = "\n".join(names[name])
        draw.multiline_text(
            (left - _MARGIN, y + height / 2), text, fill=_INK, font=font, anchor="rm", align="right", spacing=3
        )
        for i, image in enumerate(images):
            at = (left + i * (cell + _GAP), y)
            if image is None:
                draw.rectangle((*at, at[0] + cell - 1, at[1] + height - 1), outline=_FAINT)
            else:
                picture.paste(_sized(image.convert("RGB"), (cell, height)), at)
    return picture


def _checked(rows: Mapping[str, Sequence[Any]], columns: Sequence[str]) -> int:
    """The number of columns."""
    lengths = {len(images) for images in rows.values()}
    if len(lengths) != 1 or lengths == {0}:
        raise ValueError(f"rows of one length are needed, got {sorted(lengths) or 'none'}")
    (count,) = lengths
    if columns and len(columns) != count:
        raise ValueError(f"{count} columns need as many headings, got {len(columns)}")
    if all(image is None for images in rows.values() for image in images):
        raise ValueError("a strip needs at least one image")
    return count


def _sized(image: Any, size: tuple[int, int]) -> Any:
    from PIL import Image

    if image.size == size:
        return image
    whole = size[0] % image.width == 0 and size[0] // image.width * image.height == size[1]
    if whole:
        return image.resize(size, Image.Resampling.NEAREST)
    smaller = size[0] < image.width
    return image.resize(size, Image.Resampling.BOX if smaller else Image.Resampling.BICUBIC)


def _lines(draw: Any, name: str, font: Any) -> list[str]:
    """The name in lines that fit, broken between words."""
    lines = [""]
    for word in name.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and draw.textlength(longer, font=font) > _WIDEST:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines


def _font(size: int) -> Any:
    from PIL import ImageFont

    return ImageFont.load_default(size)
