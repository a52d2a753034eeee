"""The table of all operators, read off the operators themselves."""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from commutant.operators import (
    Affine,
    BlockDiagonal,
    BlockMean,
    Diagonal,
    Flip,
    FourierCrop,
    FourierShift,
    Homography,
    Identity,
    Kronecker,
    LinearOperator,
    LinearPartner,
    OrthonormalSum,
    Permutation,
    QuarterTurn,
    Resize,
    Roll,
    ShapeError,
    SpectralCrop,
    Stack,
    StridedSelection,
    Translate,
    Warp,
    Whitened,
)

SIZE, ODD = (64, 96), (63, 95)
PIXELS = 8
COLUMNS = ("operator", "of 64x96", "of 63x95", "gain", "constants", "noise partner", "on_cells(8)")


def rows() -> tuple[tuple[str, str, LinearOperator], ...]:
    """(page, how it is written, operator), every kind at least once."""
    third = Fraction(4, 3)
    order = np.arange(SIZE[0] * SIZE[1])[::-1].reshape(SIZE)
    flow = np.full((*SIZE, 2), 0.5)
    means = BlockMean(2).axes(SIZE)
    return (
        ("selections", "StridedSelection(2, phase)", StridedSelection(2, 0)),
        ("means", "BlockMean(2)", BlockMean(2)),
        ("means", "OrthonormalSum(2)", OrthonormalSum(2)),
        ("spectral", "SpectralCrop.by(4/3)", SpectralCrop.by(third)),
        ("spectral", "SpectralCrop((128, 128))", SpectralCrop((128, 128))),
        ("spectral", "FourierCrop.by(2)", FourierCrop.by(2)),
        ("spectral", "FourierCrop((32, 32))", FourierCrop((32, 32))),
        ("resizes", "Resize.by(2, 'area')", Resize.by(2, "area")),
        ("resizes", "Resize.by(2, 'bilinear')", Resize.by(2, "bilinear")),
        ("resizes", "Resize((96, 96), 'lanczos')", Resize((96, 96), "lanczos")),
        ("translations", "Roll(8, 0)", Roll(8, 0)),
        ("translations", "Translate(8, 0)", Translate(8, 0)),
        ("translations", "FourierShift(4, 0)", FourierShift(4, 0)),
        ("translations", "FourierShift(0.5, 0)", FourierShift(0.5, 0)),
        ("rearrangements", "Flip('horizontal')", Flip("horizontal")),
        ("rearrangements", "QuarterTurn(1)", QuarterTurn(1)),
        ("rearrangements", "Permutation(order)", Permutation(order)),
        ("warps", "Warp(flow)", Warp(flow)),
        ("warps", "Affine.rotation(8)", Affine.rotation(8)),
        ("warps", "Homography(matrix)", Homography(((1, 0, 0), (0, 1, 0), (0.001, 0, 1)))),
        ("algebra", "BlockMean(2) @ Flip()", BlockMean(2) @ Flip()),
        ("algebra", "BlockMean(2) @ Translate(8, 0)", BlockMean(2) @ Translate(8, 0)),
        ("algebra", "2 * BlockMean(2)", 2 * BlockMean(2)),
        ("algebra", "Whitened(BlockMean(2))", Whitened(BlockMean(2))),
        ("algebra", "BlockMean(2).transposed()", BlockMean(2).transposed()),
        ("algebra", "Kronecker(rows, columns)", Kronecker(*means)),
        ("algebra", "Diagonal(weights)", Diagonal(np.linspace(0.1, 1, SIZE[0] * SIZE[1]).reshape(SIZE))),
        ("algebra", "Identity()", Identity()),
        ("algebra", "Identity() - Flip()", Identity() - Flip()),
        ("algebra", "Stack(BlockMean(2), StridedSelection(2))", Stack(BlockMean(2), StridedSelection(2))),
        ("algebra", "BlockDiagonal(Flip(), Translate(8, 0))", BlockDiagonal(Flip(), Translate(8, 0))),
    )


def table() -> str:
    """The markdown table: sizes, gain and the rest, asked of each operator."""
    lines = ["| " + " | ".join(COLUMNS) + " |", "|---|---|---|---|---|---|---|"]
    for page, written, operator in rows():
        cells = (
            f"[`{written}`]({page}.md)",
            size(operator, SIZE),
            size(operator, ODD),
            gain(operator),
            "kept" if operator.preserves_constants else "no",
            partner(operator),
            cell_grid(operator),
        )
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def size(operator: LinearOperator, source: tuple[int, int]) -> str:
    try:
        return "x".join(map(str, operator.out_shape(source)))
    except ShapeError:
        return "refused"


def gain(operator: LinearOperator) -> str:
    """The gain for all sizes, or that for 64x96 alone, marked so."""
    if operator.gain is not None:
        return f"{operator.gain:.4g}"
    here = operator.noise_gain(SIZE)
    return "none" if here is None else f"{here:.4g} (64x96)"


def partner(operator: LinearOperator) -> str:
    """What the noise partner is, or the class of one that needs fresh noise."""
    try:
        found = operator.noise_partner()
    except ValueError:
        return "none"
    if not isinstance(found, LinearPartner):
        return type(found).__name__
    return "itself" if found.carrier is operator else "A / g"


def cell_grid(operator: LinearOperator) -> str:
    """What the operator is on cells of 8 pixels."""
    try:
        coarse = operator.on_cells(PIXELS)
    except ValueError:
        return "refused"
    if coarse == operator:
        return "itself"
    return f"`{coarse!r}`" if len(repr(coarse)) <= 36 else f"another {type(coarse).__name__}"
