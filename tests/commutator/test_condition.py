"""Commutators of fields whose commutation is known on paper."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from commutant.commutator import (
    GaussianField,
    PerSample,
    RectifiedFlow,
    StationaryGaussianField,
    Transport,
    commutator,
    commutator_norm,
    sample_norm,
)
from commutant.operators import BlockMean, LinearOperator, SpectralCrop, StridedSelection

from .worlds import SELECTIONS, SIDE, SMOOTH, Counting, TwoSizes, Wavy, highest, normal, paths, relative, seeds

CROPS = [SpectralCrop.by(2), SpectralCrop.by(Fraction(4, 3)), SpectralCrop((5, 7)), SpectralCrop((12, 9))]


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
