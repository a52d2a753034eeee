"""Commutators by their definition, and those that theory says are zero, bit for bit where the arithmetic allows it."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from commutant.commutator import (
    ConvolutionField,
    GaussianField,
    GaussianMixtureField,
    PeriodicGaussianField,
    PerSample,
    PointwiseField,
    RectifiedFlow,
    StationaryGaussianField,
    Transport,
    commutator,
    commutator_norm,
    sample_norm,
)
from commutant.operators import BlockMean, LinearOperator, SpectralCrop, StridedSelection, Translate

from .permutations import Mirror, OddFourierCrop, Roll, Shuffle
from .worlds import SELECTIONS, SIDE, SMOOTH, Counting, TwoSizes, Wavy, highest, normal, paths, relative, seeds

CROPS = [SpectralCrop.by(2), SpectralCrop.by(Fraction(4, 3)), SpectralCrop((5, 7)), SpectralCrop((12, 9))]

MOVES = [Roll(0, 1), Roll(-5, 3), Mirror(), Shuffle(1)]


def falling(i, j, height, width):
    """Variances that scale with the number of pixels: a crop with gain g multiplies them by g^2."""
    return height * width / (1.0 + i**2 + j**2)


def fixed(i, j, height, width):
    """Variances that do not know the size: cropping changes the law of the data."""
    return 20.0 / (1.0 + i**2 + j**2)


def crop_commutator(power, crop, path, u, seed) -> float:
    t = u * highest(path)
    field = StationaryGaussianField(power, path)
    x = 3 * normal(seed, 2, 1, SIDE, SIDE)
    return float(commutator_norm(crop, field, path, relative=True)(x, t).max())


@settings(max_examples=20)
@given(path=paths, crop=st.sampled_from(CROPS), u=st.floats(0.05, 0.95), seed=seeds)
def test_spectral_crop_commutes_with_a_stationary_field_of_scaled_power(path, crop, u, seed):
    assert crop_commutator(falling, crop, path, u, seed) <= 1e-10


@pytest.mark.parametrize("crop", CROPS, ids=repr)
def test_and_not_when_the_power_does_not_scale(crop):
    assert crop_commutator(fixed, crop, RectifiedFlow(), 0.5, 1) > 1e-2


@given(
    path=paths,
    op=st.sampled_from(SELECTIONS),
    mean=st.floats(-2, 2),
    std=st.floats(0.1, 2),
    u=st.floats(0.01, 1),
    seed=seeds,
)
def test_selections_commute_bitwise_with_a_constant_pointwise_field(path, op, mean, std, u, seed):
    field = GaussianField(mean, std, path)
    value = commutator(op, field, path)(normal(seed, 2, 1, SIDE, SIDE), u * highest(path))
    assert not value.any()


def test_and_not_when_the_mean_varies():
    x = normal(0, 2, 1, SIDE, SIDE)

    class Sloped:
        def denoised(self, x, t):
            return GaussianField(np.linspace(0, 1, x.shape[-1]), 0.5).denoised(x, t)

    assert commutator_norm(StridedSelection(2, 3), Sloped(), relative=True)(x, 0.5).min() > 1e-3


@given(path=paths, scale=st.sampled_from([2, 3]), mean=st.floats(-1, 1), u=st.floats(0.02, 0.98), seed=seeds)
def test_block_mean_commutes_with_white_data_whose_spread_it_is_told(path, scale, mean, u, seed):
    """Block means of white data of spread S have spread g S. With one spread at both sizes: test_closed_forms.py."""
    t, spread, op = u * highest(path), 0.8, BlockMean(scale)
    x = normal(seed, 2, 1, SIDE, SIDE)
    low = GaussianField(mean, op.gain * spread, path)
    value = commutator(op, TwoSizes(GaussianField(mean, spread, path), low, SIDE), path)(x, t)
    assert relative(value + 1.0, np.ones_like(value)) <= 1e-11


@given(op=st.sampled_from(SELECTIONS), t=st.floats(0.01, 1.0), seed=seeds)
def test_denoised_form_is_minus_t_times_the_velocity_form_of_the_paper(op, t, seed):
    path, field, x = RectifiedFlow(), Wavy(), normal(seed, 2, 1, SIDE, SIDE)

    def velocity(x):
        return path.output(field.denoised(x, t), x, t)

    paper = op(velocity(x)) - velocity(op(x))
    value = commutator(op, field, path)(x, t)
    assert np.abs(value + t * paper).max() <= 1e-13 * max(1.0, np.abs(x).max())
    assert np.abs(value - t * paper).max() > 1e-3  # the sign is part of the claim


@given(path=paths, op=st.sampled_from(SELECTIONS + SMOOTH), u=st.floats(0.05, 0.95), seed=seeds)
def test_commutator_by_its_definition(path, op, u, seed):
    t, field, x = u * highest(path), Wavy(), normal(seed, 3, 2, SIDE, SIDE)
    scale, moved = path.transport(op.noise_gain(x.shape), t)
    slow = op(field.denoised(x, t)) - field.denoised(scale * op(x), moved)
    value = commutator(op, field, path)(x, t)
    assert relative(value, slow) <= 1e-9
    norms = [np.linalg.norm(sample) for sample in slow]
    assert relative(commutator_norm(op, field, path)(x, t), norms) <= 1e-9
    sizes = [np.linalg.norm(sample) for sample in op(field.denoised(x, t))]
    assert relative(commutator_norm(op, field, path, relative=True)(x, t), np.divide(norms, sizes)) <= 1e-9


def test_norms_are_per_sample_and_cost_two_evaluations():
    x = normal(5, 3, 1, SIDE, SIDE)
    field = Counting(Wavy())
    together = commutator_norm(BlockMean(2), field, relative=True)(x, 0.6)
    assert together.shape == (3,)
    assert [width for width, _ in field.asked] == [SIDE, SIDE // 2]
    alone = [float(commutator_norm(BlockMean(2), Wavy(), relative=True)(x[b : b + 1], 0.6)[0]) for b in range(3)]
    assert relative(together, alone) <= 1e-12
    assert len(set(alone)) == 3


def test_same_time_agrees_with_matched_for_gain_one_only():
    x = normal(6, 2, 1, SIDE, SIDE)
    for op, agree in ((StridedSelection(2, 1), True), (BlockMean(2), False)):
        matched, same = (commutator(op, Wavy(), time=time)(x, 0.6) for time in ("matched", "same"))
        assert np.array_equal(matched, same) is agree


def test_sample_norm_of_half_precision_does_not_overflow():
    torch = pytest.importorskip("torch")
    x = torch.full((2, 4, 64, 64), 300.0, dtype=torch.float16)
    assert sample_norm(x).tolist() == pytest.approx([300 * 128.0] * 2)
    assert sample_norm(x.numpy()).tolist() == pytest.approx([300 * 128.0] * 2)


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
def test_elementwise_fields_commute_bitwise_in_torch_too(op, t, seed):
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
    with pytest.raises(ValueError, match=r"Translate\(1, 0.*does not keep white noise white.*permutation.*Transform"):
        commutator(Translate(1, 0), field, RectifiedFlow())(normal(0, 1, 1, 4, 4), 0.5)
    assert field.asked == []


class _Uneven(LinearOperator):
    """Doubles the first row: A A^T is no multiple of I."""

    def _refusal(self, size):
        return None

    def _out_size(self, size):
        return size

    def _forward(self, x):
        y = x.copy()
        y[..., 0, :] *= 2
        return y

    _adjoint = None


_Uneven.__abstractmethods__ = frozenset()


def test_refusals():
    x = normal(0, 1, 1, SIDE, SIDE)
    with pytest.raises(ValueError, match="changes the mean of an image"):
        commutator(2.0 * BlockMean(2), GaussianField())(x, 0.5)
    with pytest.raises(ValueError, match="does not keep white noise white"):
        commutator(_Uneven(), Wavy())(x, 0.5)
    with pytest.raises(ValueError, match="'matched' or 'same'"):
        commutator(BlockMean(2), Wavy(), time="later")(x, 0.5)
    transport = Transport.of(BlockMean(2), RectifiedFlow(), x.shape, "same")
    with pytest.raises(ValueError, match="needs the denoised prediction"):
        transport.state(x, 0.5)
    with pytest.raises(ValueError, match="chosen for 2 samples, the batch has 1"):
        PerSample(StridedSelection.family(2), (0, 1))(x)
