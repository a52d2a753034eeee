"""Commutators that theory says are zero, bit for bit where the arithmetic allows it, and what breaks them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from commutant.commutator import (
    ConvolutionField,
    GaussianMixtureField,
    PeriodicGaussianField,
    PointwiseField,
    RectifiedFlow,
    commutator,
    commutator_norm,
)
from commutant.operators import BlockMean, Translate

from .permutations import Mirror, OddFourierCrop, Roll, Shuffle
from .worlds import SELECTIONS, SIDE, Counting, highest, normal, paths, seeds

MOVES = [Roll(0, 1), Roll(-5, 3), Mirror(), Shuffle(1)]


def saturating(x, t):
    """Arithmetic only: every library rounds it alike, in any memory layout."""
    return (1.0 - t / 20) * x / (1.0 + t * x * x) + 0.1


def blurred(t):
    return (1.0 + t) * np.array([[0.1, 0.2, 0.0], [0.3, 1.0, -0.2], [0.05, 0.0, 0.4]])


@pytest.mark.parametrize("op", MOVES, ids=repr)
def test_the_moves_are_permutations(op):
    matrix = op.matrix((4, 5)).toarray()
    assert np.array_equal(matrix @ matrix.T, np.eye(20))
    assert np.array_equal(op.adjoint(op(normal(0, 4, 5))), normal(0, 4, 5))


@given(path=paths, op=st.sampled_from(SELECTIONS + MOVES), u=st.floats(0, 1), seed=seeds)
def test_elementwise_fields_commute_bitwise_with_what_picks_and_moves_pixels(path, op, u, seed):
    value = commutator(op, PointwiseField(saturating), path)(normal(seed, 2, 1, SIDE, SIDE), u * highest(path))
    assert not value.any()


@given(op=st.sampled_from(SELECTIONS + MOVES), t=st.floats(0, 1), seed=seeds)
def test_in_torch_too(op, t, seed):
    torch = pytest.importorskip("torch")
    for dtype in (torch.float32, torch.bfloat16):
        x = torch.tensor(normal(seed, 2, 1, SIDE, SIDE), dtype=dtype)
        assert not commutator(op, PointwiseField(saturating))(x, t).any()


def test_and_not_when_a_function_sees_the_whole_image_or_an_operator_mixes_pixels():
    x = 2 * normal(0, 2, 1, SIDE, SIDE)
    centred = PointwiseField(lambda x, t: x - x.mean())
    assert all(commutator_norm(op, centred)(x, 0.5).max() > 0.01 for op in SELECTIONS)
    assert commutator_norm(BlockMean(2), PointwiseField(saturating))(x, 0.5).min() > 0.1


@given(path=paths, dy=st.integers(-20, 20), dx=st.integers(-20, 20), u=st.floats(0, 1), seed=seeds)
def test_circular_convolutions_commute_bitwise_with_rolls(path, dy, dx, u, seed):
    for height, width in ((6, 7), (2, 3)):  # the second is smaller than the stencil
        x = normal(seed, 2, 1, height, width)
        assert not commutator(Roll(dy, dx), ConvolutionField(blurred), path)(x, u * highest(path)).any()


@settings(max_examples=30)
@given(path=paths, dy=st.integers(-9, 9), dx=st.integers(-9, 9), u=st.floats(0.05, 0.95), seed=seeds)
def test_periodic_data_commute_with_rolls(path, dy, dx, u, seed):
    field = PeriodicGaussianField(lambda i, j, h, w: h * w / (1.0 + i**2 + j**2), path)
    norm = commutator_norm(Roll(dy, dx), field, path, relative=True)(normal(seed, 2, 1, 8, 9), u * highest(path))
    assert norm.max() <= 1e-13


def test_and_not_with_a_shuffle():
    x = normal(0, 2, 1, 8, 9)
    for field in (ConvolutionField(blurred), PeriodicGaussianField(lambda i, j, h, w: 20 / (1.0 + i**2 + j**2))):
        assert commutator_norm(Shuffle(0), field, relative=True)(x, 0.5).min() > 0.1


@settings(max_examples=30)
@given(path=paths, to=st.sampled_from([(5, 5), (3, 9), (7, 1)]), u=st.floats(0.05, 0.95), seed=seeds)
def test_periodic_data_commute_with_a_fourier_crop_when_the_power_scales(path, to, u, seed):
    x, op, t = normal(seed, 2, 1, 9, 11), OddFourierCrop(*to), u * highest(path)

    def error(pixels):
        field = PeriodicGaussianField(lambda i, j, h, w: pixels(h, w) / (1.0 + i**2 + j**2), path)
        return commutator_norm(op, field, path, relative=True)(x, t).max()

    assert error(lambda h, w: h * w) <= 1e-10
    assert error(lambda h, w: 40) > 1e-4


@settings(max_examples=30)
@given(path=paths, std=st.sampled_from([0.0, 0.3]), u=st.floats(0.1, 0.95), seed=seeds)
def test_a_data_set_that_a_move_maps_to_itself_commutes_with_it(path, std, u, seed):
    """x0hat of data with the law of P x_0 is P x0hat(P^-1 x): equal laws, equal fields."""
    op, t = Roll(2, 0), u * min(highest(path), 3.0)
    image = normal(seed, 1, 1, 4, 5)
    orbit, x = np.concatenate([image, op(image)]), normal(seed + 1, 3, 1, 4, 5)
    value = commutator(op, GaussianMixtureField(orbit, std, None, path), path)(x, t)
    assert np.abs(value).max() <= 1e-10 * np.abs(image).max()


def test_and_not_when_the_move_leads_out_of_the_set():
    images, x = normal(0, 2, 1, 4, 5), normal(1, 3, 1, 4, 5)
    assert commutator_norm(Roll(2, 0), GaussianMixtureField(images, 0.3))(x, 0.9).min() > 0.1


def test_what_colours_noise_is_refused_before_any_evaluation():
    field = Counting(PointwiseField(saturating))
    with pytest.raises(
        ValueError, match=r"Translate\(1, 0.*does not keep white noise white.*permutation.*Manipulation"
    ):
        commutator(Translate(1, 0), field, RectifiedFlow())(normal(0, 1, 1, 4, 4), 0.5)
    assert field.asked == []
