"""Every operator, as a hypothesis strategy of (operator, input size).

To enter a new operator into every law, every backend and the noise statistics, add one function here.
"""

from fractions import Fraction

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

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
    OrthonormalSum,
    Permutation,
    QuarterTurn,
    Resize,
    Roll,
    SpectralCrop,
    Stack,
    StridedSelection,
    Translate,
    Warp,
    Whitened,
)

CASES: dict[str, st.SearchStrategy] = {}
RATIOS = st.sampled_from([Fraction(1), Fraction(2), Fraction(3), Fraction(4, 3), Fraction(3, 2), Fraction(5, 4)])
KERNEL_CHOICES = st.sampled_from(
    [("area", True), *((kernel, smooth) for kernel in ("bilinear", "bicubic", "lanczos") for smooth in (True, False))]
)


def case(build):
    """Register a composite strategy under its name."""
    CASES[build.__name__] = st.composite(build)()
    return build


def pairs(low: int, high: int):
    return st.tuples(st.integers(low, high), st.integers(low, high))


def times(scale, counts):
    return scale[0] * counts[0], scale[1] * counts[1]


@case
def strided_selection(draw):
    scale = draw(pairs(1, 4))
    phase = draw(st.integers(0, scale[0] - 1)), draw(st.integers(0, scale[1] - 1))
    return StridedSelection(scale, phase), times(scale, draw(pairs(1, 4)))


@case
def block_mean(draw):
    scale = draw(pairs(1, 4))
    return BlockMean(scale), times(scale, draw(pairs(1, 4)))


@case
def orthonormal_sum(draw):
    scale = draw(pairs(1, 4))
    return OrthonormalSum(scale), times(scale, draw(pairs(1, 4)))


@case
def spectral_crop_to_a_shape(draw):
    return SpectralCrop(draw(pairs(1, 7))), draw(pairs(1, 9))


@case
def fourier_crop_to_a_shape(draw):
    target, more = draw(pairs(1, 7)), draw(pairs(0, 6))
    return FourierCrop(target), (target[0] + more[0], target[1] + more[1])


@case
def fourier_crop_by_a_scale(draw):
    scale = draw(RATIOS), draw(RATIOS)
    return FourierCrop.by(scale), times([s.numerator for s in scale], draw(pairs(1, 3)))


@case
def spectral_crop_by_a_scale(draw):
    scale = draw(RATIOS), draw(RATIOS)
    return SpectralCrop.by(scale), times([s.numerator for s in scale], draw(pairs(1, 3)))


@case
def resize_to_a_shape(draw):
    return Resize(draw(pairs(1, 7)), *draw(KERNEL_CHOICES)), draw(pairs(1, 9))


@case
def resize_by_a_scale(draw):
    ratios = st.one_of(RATIOS, st.sampled_from([Fraction(1, 2), Fraction(2, 3)]))
    scale = draw(ratios), draw(ratios)
    return Resize.by(scale, *draw(KERNEL_CHOICES)), times([s.numerator for s in scale], draw(pairs(1, 2)))


@case
def fourier_shift(draw):
    distances = st.one_of(st.integers(-5, 5), st.floats(-5, 5), st.sampled_from([0.5, -1.5]))
    return FourierShift(draw(distances), draw(distances)), draw(pairs(1, 8))


@case
def kronecker(draw):
    (h, w), size = draw(pairs(1, 5)), draw(pairs(1, 5))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    rows, columns = rng.normal(size=(h, size[0])), rng.normal(size=(w, size[1]))
    if draw(st.booleans()):
        rows[-1] = rows[0]  # less than full rank
    return Kronecker(rows, columns), size


@case
def kronecker_of_isometries(draw):
    size = draw(pairs(2, 5))
    target = draw(st.integers(1, size[0])), draw(st.integers(1, size[1]))
    return Kronecker(*SpectralCrop(target).axes(size)), size


@case
def composed(draw):
    scale = draw(pairs(1, 3))
    op = BlockMean(scale) @ StridedSelection((2, 1), (1, 0)) @ SpectralCrop.by((1, Fraction(3, 2)))
    return op, times((2 * scale[0], 3 * scale[1]), draw(pairs(1, 2)))


@case
def composed_with_a_fixed_target(draw):
    return SpectralCrop(draw(pairs(1, 3))) @ BlockMean(2), times((2, 2), draw(pairs(3, 5)))


@case
def scaled(draw):
    factor = draw(st.floats(-4, 4).filter(lambda c: abs(c) > 0.1))
    scale = draw(pairs(1, 3))
    return factor * BlockMean(scale), times(scale, draw(pairs(1, 3)))


@case
def whitened(draw):
    scale = draw(pairs(2, 3))
    return Whitened(BlockMean(scale)), times(scale, draw(pairs(1, 3)))


@case
def translate(draw):
    dx, dy = draw(st.integers(-4, 4)), draw(st.integers(-4, 4))
    more = draw(pairs(1, 4))
    fill = draw(st.sampled_from(["reflect", "edge", "zero"]))
    return Translate(dx, dy, fill), (abs(dy) + more[0], abs(dx) + more[1])


@case
def adjoint_of_a_mean(draw):
    return BlockMean(draw(pairs(1, 3))).transposed(), draw(pairs(1, 4))


@case
def adjoint_of_a_spectral_crop(draw):
    target, more = draw(pairs(1, 5)), draw(pairs(0, 5))
    return SpectralCrop(target).transposed((target[0] + more[0], target[1] + more[1])), target


@case
def composed_with_a_translation(draw):
    move = Translate(draw(st.integers(-2, 2)), draw(st.integers(-2, 2)), "edge")
    return BlockMean(2) @ move @ BlockMean((1, 2)).transposed(), (2 * draw(st.integers(2, 3)), draw(st.integers(2, 3)))


@case
def identity(draw):
    return Identity(), draw(pairs(1, 5))


@case
def diagonal(draw):
    size = draw(pairs(1, 5))
    weights = st.one_of(st.sampled_from([0.0, 1.0, -1.0]), st.floats(-3, 3, width=32))
    return Diagonal(draw(arrays(np.float64, size, elements=weights))), size


@case
def sums(draw):
    distance, factor = draw(st.integers(-1, 1)), draw(st.floats(0.1, 2))
    op = Translate(distance, 0) + factor * Identity() - Roll(0, distance)
    return draw(st.sampled_from([op, BlockMean(2) + SpectralCrop.by(2)])), times((2, 2), draw(pairs(1, 3)))


AXES = st.sampled_from(["vertical", "horizontal"])


@case
def stack(draw):
    ops = draw(st.sampled_from([StridedSelection.family(2), (BlockMean(2), 2.0 * SpectralCrop.by(2))]))
    return Stack(*ops, axis=draw(AXES)), times((2, 2), draw(pairs(1, 3)))


@case
def block_diagonal(draw):
    panels = [BlockMean(2), StridedSelection(2, 1), SpectralCrop.by(2), BlockMean(2) @ Translate(1, 0)]
    ops = draw(st.lists(st.sampled_from(panels), min_size=2, max_size=3))
    return BlockDiagonal(*ops, axis=draw(AXES)), times((2 * len(ops), 2 * len(ops)), draw(pairs(1, 2)))


@case
def block_diagonal_of_unequal_parts(draw):
    ops = Resize((draw(st.integers(1, 4)), 3)), FourierShift(0.5, 0) @ SpectralCrop((2, 3))
    return BlockDiagonal(*ops), times((2, 1), draw(pairs(1, 3)))


@case
def roll(draw):
    return Roll(draw(st.integers(-7, 7)), draw(st.integers(-7, 7))), draw(pairs(1, 5))


@case
def flip(draw):
    return Flip(draw(st.sampled_from(["horizontal", "vertical", "both"]))), draw(pairs(1, 5))


@case
def quarter_turn(draw):
    return QuarterTurn(draw(st.integers(-4, 5))), draw(pairs(1, 5))


@case
def permutation(draw):
    height, width = size = draw(pairs(1, 4))
    return Permutation(np.reshape(draw(st.permutations(range(height * width))), size)), size


@case
def composed_rearrangements(draw):
    size = draw(pairs(1, 4))
    order = np.random.default_rng(draw(st.integers(0, 99))).permutation(size[0] * size[1]).reshape(size)
    return QuarterTurn(1) @ Permutation(order) @ Flip("both") @ Roll(1, 2), size


MODES = st.sampled_from(["bilinear", "nearest"])
FILLS = st.sampled_from(["edge", "reflect", "zero"])


def flows(size):
    """Flows that copy, stretch, fold and leave the image; whole and half pixels among them."""
    steps = st.one_of(st.integers(-4, 4), st.sampled_from([0.5, -0.5, 1e-9]), st.floats(-9, 9, width=32))
    return arrays(np.float64, (*size, 2), elements=steps.map(float))


@case
def warp(draw):
    size = draw(pairs(1, 5))
    return Warp(draw(flows(size)), draw(MODES), draw(FILLS)), size


@case
def composed_with_a_warp(draw):
    size = draw(pairs(1, 3))
    return BlockMean(1) @ Warp(draw(flows(size)), draw(MODES)) @ QuarterTurn(1), size[::-1]


@case
def affine(draw):
    parts = st.floats(-3, 3, width=32)
    linear = draw(st.tuples(parts, parts, parts, parts).filter(lambda m: abs(m[0] * m[3] - m[1] * m[2]) > 0.05))
    matrix = (*linear[:2], draw(parts)), (*linear[2:], draw(parts))
    named = [
        Affine.rotation(draw(st.floats(-400, 400))),
        Affine.zoom(draw(st.floats(0.2, 5))),
        Affine.shift(0.5, -1.25),
    ]
    op = draw(st.sampled_from([Affine(matrix), *named]))
    return Affine(op.entries, draw(MODES), draw(FILLS)), draw(pairs(1, 5))


@case
def homography(draw):
    parts, tilts = st.floats(-0.3, 0.3), st.floats(-0.05, 0.05)
    (a, b, c, d), (e, f) = (draw(st.tuples(*[kind] * n)) for kind, n in ((parts, 4), (tilts, 2)))
    matrix = (1 + a, b, 3 * c), (c, 1 + d, 3 * a), (e, f, 1)
    return Homography(matrix, draw(MODES), draw(FILLS)), draw(pairs(1, 5))
