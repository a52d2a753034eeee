"""Pictures of pictures: where the cells of a grid lie, an image or an empty frame in a cell, and letters.

Sizes are (width, height) in pixels. PIL is imported where something is drawn.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

INK, FAINT = "#1d1b18", "#837c71"


@dataclass(frozen=True)
class Grid:
    """Cells of one size, row by row.

    Attributes:
        gap: between neighbours, across and down. origin: the left upper corner of the first cell.
    """

    cell: tuple[int, int]
    columns: int
    rows: int
    gap: tuple[int, int]
    origin: tuple[int, int] = (0, 0)

    @property
    def pitch(self) -> tuple[int, int]:
        """From a cell to its neighbour."""
        return self.cell[0] + self.gap[0], self.cell[1] + self.gap[1]

    @property
    def end(self) -> tuple[int, int]:
        """The right lower corner of the last cell."""
        across, down = self.pitch
        return (
            self.origin[0] + self.columns * across - self.gap[0],
            self.origin[1] + self.rows * down - self.gap[1],
        )

    def at(self, row: int, column: int) -> tuple[int, int]:
        """The left upper corner of a cell."""
        return self.origin[0] + column * self.pitch[0], self.origin[1] + row * self.pitch[1]

    def place(self, number: int) -> tuple[int, int]:
        """The left upper corner of the `number`-th cell, counted from 0."""
        return self.at(*divmod(number, self.columns))


def pasted(picture: Any, image: Any, at: tuple[int, int], cell: tuple[int, int], resample: Any = None) -> None:
    """Put an image into a cell, resized to fill it: by Lanczos's kernel unless another is given."""
    from PIL import Image

    image = image.convert("RGB")
    if image.size != cell:
        image = image.resize(cell, Image.Resampling.LANCZOS if resample is None else resample)
    picture.paste(image, at)


def framed(draw: Any, at: tuple[int, int], cell: tuple[int, int], colour: str, width: int = 1) -> None:
    """An empty frame in a cell, for an image that is not there."""
    draw.rectangle((*at, at[0] + cell[0] - 1, at[1] + cell[1] - 1), outline=colour, width=width)


def font(size: int) -> Any:
    """Letters of a size; scalable and built in since Pillow 10.1."""
    from PIL import ImageFont

    return ImageFont.load_default(size)


def fitted(draw: Any, text: str, letters: Any, width: int) -> str:
    """One line of text that fits, shortened with an ellipsis. Line breaks and control characters become spaces."""
    text = " ".join("".join(c if c.isprintable() else " " for c in text[:2000]).split())
    if draw.textlength(text, font=letters) <= width:
        return text
    while text and draw.textlength(text + "…", font=letters) > width:
        text = text[: -max(1, len(text) // 20)]
    return text.rstrip() + "…"


def lines(draw: Any, text: str, letters: Any, width: int) -> list[str]:
    """The text in lines that fit, broken between words."""
    out = [""]
    for word in text.split():
        longer = f"{out[-1]} {word}".strip()
        if out[-1] and draw.textlength(longer, font=letters) > width:
            out.append(word)
        else:
            out[-1] = longer
    return out
