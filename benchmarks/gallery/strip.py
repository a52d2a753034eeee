"""The picture of a page: an image under every operator, and white noise under it and under its noise partner."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from .covariance import colour
from .families import PIXELS, SIDE, Entry

CELL, PATCH, GAP, MARGIN = 256, 96, 16, 16  # grids of 8, 16, 24, 32 and 48 cells all fill a patch
LABEL, NOTE = 22, 18  # heights of letters
LINE = 28
CONTRAST = 3.0  # standard deviations from grey to white
CELLS = SIDE // PIXELS
GREYS = 52


def strip(image: np.ndarray, entries: Sequence[Entry]) -> Image.Image:
    """The picture for an image (3, 256, 256) in [0, 1]: a column for it and for each entry.

    Below each image two patches: white noise on the grid of latents under the operator, and under its noise partner,
    in the same grey scale, with standard deviation and largest correlation between two pixels, both exact.
    """
    pictured = [entry for entry in entries if entry.pictured]
    width = 2 * MARGIN + (len(pictured) + 1) * (CELL + GAP) - GAP
    height = 2 * MARGIN + LINE + CELL + GAP + LINE + PATCH + 2 * LINE
    sheet = Image.new("RGB", (width, height), "white")
    noise = np.random.default_rng(0).standard_normal((CELLS, CELLS))
    _column(sheet, MARGIN, "image", image)
    _patch(sheet, MARGIN, "n", noise, "std 1.00", "corr 0.00")
    for k, entry in enumerate(pictured, 1):
        left = MARGIN + k * (CELL + GAP)
        partner = entry.cells.noise_partner()
        _column(sheet, left, entry.label, entry.operator(image))
        for shift, name, carrier, drawn in (
            (0, "A n", entry.cells, entry.cells(noise)),
            (CELL - PATCH, "N(n)", partner, partner(noise, 1)),
        ):
            found = colour(carrier, noise.shape)
            notes = f"std {found.std:.2f}", f"corr {found.correlation:.2f}"
            _patch(sheet, left + shift, name, drawn, *notes)
    return _indexed(sheet)


def _indexed(sheet: Image.Image) -> Image.Image:
    """In 256 colours, a quarter of the bytes: exact greys for noise, letters and white, the others for the images."""
    top, bottom = MARGIN + LINE, MARGIN + LINE + CELL
    band = sheet.crop((0, top, sheet.width, bottom))
    images = band.quantize(256 - GREYS, dither=Image.Dither.NONE)
    index = np.rint(np.asarray(sheet.convert("L")) / 255 * (GREYS - 1)).astype(np.uint8)
    white = (np.asarray(band) == 255).all(axis=-1)
    index[top:bottom] = np.where(white, GREYS - 1, np.asarray(images) + np.uint8(GREYS))
    result = Image.fromarray(index, "P")
    greys = np.repeat(np.linspace(0, 255, GREYS).round().astype(int), 3).tolist()
    result.putpalette(greys + (images.getpalette() or [])[: 3 * (256 - GREYS)])
    return result


def _column(sheet: Image.Image, left: int, label: str, image: np.ndarray) -> None:
    _written(sheet, left, MARGIN, label, LABEL)
    values = np.rint(np.moveaxis(image, 0, -1).clip(0, 1) * 255).astype(np.uint8)
    _pasted(sheet, left, MARGIN + LINE, Image.fromarray(values), CELL)


def _patch(sheet: Image.Image, left: int, name: str, noise: np.ndarray, *notes: str) -> None:
    top = MARGIN + LINE + CELL + GAP
    _written(sheet, left, top, name, NOTE)
    grey = np.rint(127.5 * (1 + noise / CONTRAST)).clip(0, 255).astype(np.uint8)
    _pasted(sheet, left, top + LINE, Image.fromarray(grey), PATCH)
    for line, note in enumerate(notes):
        _written(sheet, left, top + LINE + PATCH + 4 + line * (NOTE + 4), note, NOTE)


def _pasted(sheet: Image.Image, left: int, top: int, image: Image.Image, side: int) -> None:
    """The image, its pixels magnified by the largest whole factor that fits; of a larger one, the middle."""
    width, height = image.size
    if max(width, height) > side:
        x, y = (width - side) // 2, (height - side) // 2
        image = image.crop((x, y, x + side, y + side))
    factor = max(1, side // max(image.size))
    shown = image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)
    sheet.paste(shown, (left + (side - shown.width) // 2, top + (side - shown.height) // 2))


def _written(sheet: Image.Image, left: int, top: int, text: str, size: int) -> None:
    """Black letters of `size`, or of the largest smaller size that fits the column."""
    draw = ImageDraw.Draw(sheet)
    while draw.textlength(text, font=ImageFont.load_default(size)) > CELL:
        size -= 1
    draw.text((left, top), text, "black", ImageFont.load_default(size))
