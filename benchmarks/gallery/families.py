"""What each page shows: its operators, in pixels of the embedded model's 256x256 images."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from commutant.operators import (
    Affine,
    BlockMean,
    Flip,
    FourierCrop,
    FourierShift,
    Homography,
    Kronecker,
    LinearOperator,
    OrthonormalSum,
    Permutation,
    QuarterTurn,
    Resize,
    Roll,
    SpectralCrop,
    StridedSelection,
    Translate,
    Warp,
)

SIDE = 256  # of the images
PIXELS = 8  # a latent cell is this wide


@dataclass(frozen=True)
class Entry:
    """One operator of a page.

    Attributes:
        cells: the same map on latents; `operator.on_cells` unless given.
        pictured, measured: whether it is a column of the picture, a row of the commutator table.
        time: as `commutator_norm` takes it.
        related: whether the noise goes through its partner; otherwise other white noise takes its place.
    """

    label: str
    operator: LinearOperator
    cells: LinearOperator
    pictured: bool = True
    measured: bool = True
    time: str = "matched"
    related: bool = True

    @classmethod
    def of(cls, label: str, operator: LinearOperator, cells: LinearOperator | None = None, **how: Any) -> Entry:
        return cls(label, operator, operator.on_cells(PIXELS) if cells is None else cells, **how)


def on_blocks(label: str, operator: LinearOperator, **how: Any) -> Entry:
    """An operator on blocks: the same blocks, of cells instead of pixels."""
    return Entry.of(label, operator, operator, **how)


def wave(side: int = SIDE) -> Warp:
    """A flow that sways rows and columns by up to a sixteenth of the image."""
    rows, columns = np.mgrid[0:side, 0:side] / side
    flow = np.stack([np.sin(3 * np.pi * rows), np.sin(3 * np.pi * columns)], axis=-1) * (side / 16)
    return Warp(flow, fill="reflect")


def tilt(strength: float) -> Homography:
    """The image as seen from the left."""
    return Homography(((1, 0, 0), (0, 1, 0), (strength / SIDE, 0, 1)), fill="reflect")


def swapped_quarters(side: int) -> Permutation:
    """The four quarters of the image change places crosswise."""
    order = np.arange(side * side).reshape(side, side)
    return Permutation(np.roll(order, (side // 2, side // 2), axis=(0, 1)))


def shuffled(side: int) -> Permutation:
    """All pixels in a random order."""
    return Permutation(np.random.default_rng(0).permutation(side * side).reshape(side, side))


def smeared(side: int, reach: int) -> Kronecker:
    """Every pixel the mean of those up to `reach` columns away; not isotropic."""
    columns = np.arange(side)
    near = np.abs(columns[:, None] - columns) <= reach
    return Kronecker(np.eye(side), near / near.sum(axis=1, keepdims=True))


def enlarged() -> LinearOperator:
    """Half as large again: the transposed of a crop, with the factor that keeps constants."""
    return Fraction(9, 4) * SpectralCrop.by(Fraction(3, 2)).transposed()


def families() -> dict[str, tuple[Entry, ...]]:
    """The entries of every page, by the page's name."""
    return {
        "selections": (
            on_blocks("StridedSelection(2, 0)", StridedSelection(2, 0)),
            on_blocks("StridedSelection(2, 3)", StridedSelection(2, 3)),
            on_blocks("StridedSelection((1, 2), 0)", StridedSelection((1, 2), 0)),
            on_blocks("StridedSelection(4, 0)", StridedSelection(4, 0), measured=False),
        ),
        "means": (
            on_blocks("BlockMean(2)", BlockMean(2)),
            on_blocks("BlockMean(2), unit noise", BlockMean(2), pictured=False, time="same"),
            on_blocks("BlockMean((1, 2))", BlockMean((1, 2))),
            on_blocks("BlockMean(4)", BlockMean(4), measured=False),
            on_blocks("OrthonormalSum(2)", OrthonormalSum(2), measured=False),
        ),
        "spectral": (
            Entry.of("SpectralCrop.by(2)", SpectralCrop.by(2)),
            Entry.of("FourierCrop.by(2)", FourierCrop.by(2)),
            Entry.of("SpectralCrop.by(4/3)", SpectralCrop.by(Fraction(4, 3))),
            Entry.of("SpectralCrop((384, 384))", SpectralCrop((384, 384)), measured=False),
        ),
        "resizes": (
            Entry.of("Resize.by(2, 'bilinear')", Resize.by(2, "bilinear")),
            Entry.of("Resize.by(2, 'lanczos')", Resize.by(2, "lanczos")),
            Entry.of("Resize.by(2, 'bicubic', False)", Resize.by(2, "bicubic", False)),
            Entry.of("Resize.by(4/3, 'area')", Resize.by(Fraction(4, 3), "area")),
        ),
        "translations": (
            Entry.of("Roll(64, 0)", Roll(64, 0)),
            Entry.of("Translate(64, 0)", Translate(64, 0)),
            Entry.of("Translate(64, 0, 'zero')", Translate(64, 0, "zero"), measured=False),
            Entry.of("FourierShift(4, 0)", FourierShift(4, 0)),
        ),
        "rearrangements": (
            Entry.of("Flip('horizontal')", Flip()),
            Entry.of("QuarterTurn(1)", QuarterTurn(1)),
            Entry.of("Permutation, quarters", swapped_quarters(SIDE), swapped_quarters(SIDE // PIXELS)),
            Entry.of("Permutation, random", shuffled(SIDE), shuffled(SIDE // PIXELS)),
        ),
        "warps": (
            Entry.of("Affine.rotation(8)", Affine.rotation(8, fill="reflect")),
            Entry.of("Affine.zoom(1.2)", Affine.zoom(1.2, fill="reflect")),
            Entry.of("Warp(wave)", wave()),
            Entry.of("Homography(tilt)", tilt(0.6)),
        ),
        "noise": (
            Entry.of("FreshBand", Translate(64, 0), measured=False),
            Entry.of("AreaSplit", Resize.by(Fraction(4, 3), "bilinear"), measured=False),
            Entry.of("ConservativeSplit", Affine.rotation(8), measured=False),
            Entry.of("ConditionalUpsampling", enlarged(), enlarged(), measured=False),
            Entry.of("Affine.rotation(8), its partner", Affine.rotation(8, fill="reflect"), pictured=False),
            Entry.of(
                "Affine.rotation(8), unrelated", Affine.rotation(8, fill="reflect"), pictured=False, related=False
            ),
        ),
        "algebra": (
            Entry.of("SpectralCrop.by(2) @ Flip()", SpectralCrop.by(2) @ Flip()),
            Entry.of(
                "BlockMean(2) @ Translate(64, 0)", BlockMean(2) @ Translate(64, 0), BlockMean(2) @ Translate(8, 0)
            ),
            Entry.of("Kronecker(I, mean)", smeared(SIDE, 12), smeared(SIDE // PIXELS, 1)),
            Entry.of("SpectralCrop, transposed", enlarged(), enlarged(), measured=False),
        ),
    }
