"""A picture of pictures: one method a row, one seed a column, names at the left."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..pictures import FAINT, INK, Grid, font, framed, lines, pasted

_PAPER = "#ffffff"
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
    ruler = ImageDraw.Draw(Image.new("RGB", (1, 1)))
    names = {name: lines(ruler, name, font(14), _WIDEST) for name in rows}
    side = max((ruler.textlength(line, font=font(14)) for name in names.values() for line in name), default=0)
    origin = 2 * _MARGIN + round(side), _MARGIN + (_HEAD if columns else 0)
    grid = Grid((cell, height), count, len(rows), (_GAP, _ROW_GAP), origin)
    picture = Image.new("RGB", (grid.end[0] + _MARGIN, grid.end[1] + _MARGIN), _PAPER)
    draw = ImageDraw.Draw(picture)
    for i, heading in enumerate(columns):
        draw.text((grid.at(0, i)[0] + cell / 2, _MARGIN + 4), heading, fill=FAINT, font=font(13), anchor="mt")
    for j, (name, images) in enumerate(rows.items()):
        middle = origin[0] - _MARGIN, grid.at(j, 0)[1] + height / 2
        draw.multiline_text(
            middle, "\n".join(names[name]), fill=INK, font=font(14), anchor="rm", align="right", spacing=3
        )
        for i, image in enumerate(images):
            if image is None:
                framed(draw, grid.at(j, i), grid.cell, FAINT)
            else:
                pasted(picture, image, grid.at(j, i), grid.cell, _resampling(image, grid.cell))
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


def _resampling(image: Any, size: tuple[int, int]) -> Any:
    """What shows an image as it is: repeated pixels where the factor is whole."""
    from PIL import Image

    if size[0] % image.width == 0 and size[0] // image.width * image.height == size[1]:
        return Image.Resampling.NEAREST
    return Image.Resampling.BOX if size[0] < image.width else Image.Resampling.BICUBIC
