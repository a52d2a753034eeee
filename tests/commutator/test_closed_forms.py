"""Commutators that are not zero, against what they are on paper; all to 1e-8 of their own size."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from commutant.commutator import (
    ConvolutionField,
    GaussianField,
    GaussianMixtureField,
    StationaryGaussianField,
    commutator,
    convolution_commutator,
    gaussian_commutator,
    sample_norm,
    stationary_commutator,
    two_point_commutator,
)
from commutant.operators import BlockMean, SpectralCrop, StridedSelection, Translate

from .permutations import Mirror, Roll, Shuffle
from .worlds import SELECTIONS, SIDE, SMOOTH, highest, normal, paths, relative, seeds

MEANS = [BlockMean(2), BlockMean((2, 3)), BlockMean(3)]
TOLERANCE = 1e-8
interior = st.floats(0.05, 0.95)  # at both ends of a path the closed forms are 0, and a relative error means nothing


@given(path=paths, op=st.sampled_from(SMOOTH), mean=st.floats(-1, 1), std=st.floats(0.3, 2), u=interior, seed=seeds)
def test_white_data_under_a_mean_or_a_crop(path, op, mean, std, u, seed):
    field, x, t = GaussianField(mean, std, path), normal(seed, 2, 1, SIDE, SIDE), u * highest(path)
    measured, theory = commutator(op, field, path)(x, t), gaussian_commutator(op, field)(x, t)
    assert relative(measured, theory) <= TOLERANCE
    without_mean = gaussian_commutator(op, GaussianField(0.0, std, path))(x, t)
    assert abs(mean) < 0.1 or path.alpha(t) < 0.1 or relative(measured, without_mean) > TOLERANCE


def test_white_data_under_a_selection_is_zero():
    x = normal(0, 2, 1, SIDE, SIDE)
    assert not any(gaussian_commutator(op, GaussianField(0.3, 0.7))(x, 0.5).any() for op in SELECTIONS)


def stencil(t):
    return np.array([[0.1, 0.2, -0.1], [0.3, 1.0, 0.2], [0.05, 0.0, 0.4]]) / (0.5 + t)


@given(path=paths, op=st.sampled_from(SELECTIONS + MEANS), u=interior, seed=seeds)
def test_a_convolution_under_a_selection_or_a_mean(path, op, u, seed):
    field, x, t = ConvolutionField(stencil), normal(seed, 2, 1, SIDE, SIDE), u * highest(path)
    theory = convolution_commutator(op, field, path)(x, t)
    assert relative(commutator(op, field, path)(x, t), theory) <= TOLERANCE
    mirrored = ConvolutionField(lambda t: stencil(t)[::-1, ::-1])
    assert relative(commutator(op, mirrored, path)(x, t), theory) > 1e-3


def test_one_tap_commutes_with_every_selection():
    x = normal(0, 2, 1, SIDE, SIDE)
    field = ConvolutionField(np.array([[0.0, 0.0, 0.0], [0.0, 0.7, 0.0], [0.0, 0.0, 0.0]]))
    assert not any(convolution_commutator(op, field)(x, 0.5).any() for op in SELECTIONS)


CROPS = [SpectralCrop.by(2), SpectralCrop.by(Fraction(4, 3)), SpectralCrop((5, 7)), SpectralCrop((12, 9))]


def fixed(i, j, height, width):
    return 20.0 / (1.0 + i**2 + j**2)


@settings(max_examples=40)
@given(path=paths, op=st.sampled_from(CROPS), u=interior, seed=seeds)
def test_stationary_data_under_a_crop(path, op, u, seed):
    field, x, t = StationaryGaussianField(fixed, path), normal(seed, 2, 1, SIDE, SIDE), u * highest(path)
    measured = commutator(op, field, path)(x, t)
    assert relative(measured, stationary_commutator(op, field)(x, t)) <= TOLERANCE
    other = StationaryGaussianField(lambda i, j, h, w: fixed(i, 2 * j, h, w), path)
    assert relative(measured, stationary_commutator(op, other)(x, t)) > 1e-4


@given(
    path=paths,
    op=st.sampled_from([Roll(0, 1), Roll(2, -1), Mirror(), Shuffle(3)]),
    std=st.sampled_from([0.0, 0.4]),
    first=st.floats(0.1, 0.9),
    u=st.floats(0.1, 0.9),
    seed=seeds,
)
def test_two_images_under_a_move(path, op, std, first, u, seed):
    weights = np.array([first, 1 - first])
    field = GaussianMixtureField(normal(seed, 2, 1, 3, 4), std, weights, path)
    x, t = normal(seed + 1, 3, 1, 3, 4), u * min(highest(path), 3.0)
    assert relative(commutator(op, field, path)(x, t), two_point_commutator(op, field)(x, t)) <= TOLERANCE


def test_the_weights_of_two_images_matter():
    means, x, op = normal(0, 2, 1, 3, 4), normal(1, 3, 1, 3, 4), Roll(0, 1)
    even, uneven = (GaussianMixtureField(means, 0.4, w) for w in (None, np.array([0.9, 0.1])))
    assert relative(commutator(op, even)(x, 0.8), two_point_commutator(op, even)(x, 0.8)) <= TOLERANCE
    assert relative(commutator(op, even)(x, 0.8), two_point_commutator(op, uneven)(x, 0.8)) > 1e-3


def test_swapping_two_images_of_equal_weight_is_zero():
    image, op, x = normal(0, 1, 1, 4, 3), Roll(2, 0), normal(1, 3, 1, 4, 3)
    field = GaussianMixtureField(np.concatenate([image, op(image)]), 0.2)
    assert sample_norm(two_point_commutator(op, field)(x, 0.5)).max() <= 1e-12


def test_closed_forms_in_torch():
    torch = pytest.importorskip("torch")
    x, means = torch.tensor(normal(0, 2, 1, SIDE, SIDE)), torch.tensor(normal(1, 2, 1, SIDE, SIDE))
    stationary, two = StationaryGaussianField(fixed), GaussianMixtureField(means, 0.3)
    for op, field, theory in (
        (BlockMean(2), GaussianField(0.2), gaussian_commutator(BlockMean(2), GaussianField(0.2))),
        (BlockMean(2), ConvolutionField(stencil), convolution_commutator(BlockMean(2), ConvolutionField(stencil))),
        (SpectralCrop.by(2), stationary, stationary_commutator(SpectralCrop.by(2), stationary)),
        (Roll(1, 0), two, two_point_commutator(Roll(1, 0), two)),
    ):
        expected = theory(x, 0.6)
        assert isinstance(expected, torch.Tensor)
        assert relative(commutator(op, field)(x, 0.6), expected) <= TOLERANCE


def test_refusals():
    means = normal(0, 3, 1, 4, 4)
    with pytest.raises(TypeError, match="a mean that is one number"):
        gaussian_commutator(BlockMean(2), GaussianField(np.ones((4, 4))))
    with pytest.raises(ValueError, match="does not keep white noise white"):
        gaussian_commutator(Translate(1, 0), GaussianField())(means, 0.5)
    with pytest.raises(TypeError, match="acts on no blocks"):
        convolution_commutator(SpectralCrop.by(2), ConvolutionField(np.ones((1, 1))))
    with pytest.raises(TypeError, match="not diagonal in the DCT basis"):
        stationary_commutator(BlockMean(2), StationaryGaussianField(fixed))
    with pytest.raises(ValueError, match="the mixture has 3"):
        two_point_commutator(Roll(1, 0), GaussianMixtureField(means))
    for op in (StridedSelection(2), Translate(1, 0)):
        with pytest.raises(ValueError, match="no permutation"):
            two_point_commutator(op, GaussianMixtureField(means[:2]))
