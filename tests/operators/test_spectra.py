"""The crops and shifts that are defined by frequencies, against sums over frequencies in plain Python."""

import cmath
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from laws import relative

from commutant.operators import BlockMean, FourierCrop, FourierShift, SpectralCrop

lengths = st.integers(1, 8)
generators = st.integers(0, 2**32 - 1).map(np.random.default_rng)


def coefficient(line, k):
    """Of the frequency k at pixel centres: sum_i x_i exp(-2 pi i k (i + 1/2) / n) / n."""
    n = len(line)
    return sum(v * cmath.exp(-2j * math.pi * k * (i + 0.5) / n) for i, v in enumerate(line)) / n


def fourier_crop(line, target):
    """Every frequency below target / 2, both signs, seen from the target's pixel centres; at an even target the sine
    of frequency target / 2 besides, divided by sqrt(2)."""
    n = len(line)
    if n == target:
        return line
    below = [(k, coefficient(line, k)) for k in range(-(target // 2), target // 2 + 1) if 2 * abs(k) < target]
    sine = 0.0
    if target % 2 == 0:
        sine = -2 * coefficient(line, target // 2).imag / math.sqrt(2)
    centres = [(j + 0.5) / target for j in range(target)]
    return [
        sum((c * cmath.exp(2j * math.pi * k * u)).real for k, c in below) + sine * math.sin(math.pi * target * u)
        for u in centres
    ]


@given(target=lengths, more=st.integers(0, 6), rng=generators)
@settings(max_examples=40, deadline=None)
def test_fourier_crop_by_definition(target, more, rng):
    x = rng.normal(size=(1, target + more))
    np.testing.assert_allclose(FourierCrop((1, target))(x)[0], fourier_crop(x[0].tolist(), target), atol=1e-13)
    np.testing.assert_allclose(FourierCrop((target, 1))(x.T)[:, 0], fourier_crop(x[0].tolist(), target), atol=1e-13)


def test_the_definition_catches_a_crop_that_is_half_a_pixel_off():
    x = np.random.default_rng(0).normal(size=12)
    corners = np.fft.irfft(np.fft.rfft(x)[:4], 7) * 7 / 12  # aligned at pixel 0, not at the pixel centres
    assert relative(corners, fourier_crop(x.tolist(), 7)) > 0.1


def test_fourier_crop_keeps_low_frequencies_where_they_are():
    def wave(k, length, phase):
        return np.cos(2 * np.pi * k * (np.arange(length) + 0.5) / length + phase)[None]

    for target in (15, 16):
        for k in range(-(-target // 2)):
            np.testing.assert_allclose(FourierCrop((1, target))(wave(k, 24, 0.3)), wave(k, target, 0.3), atol=1e-13)
        for k in range(target // 2 + 1, 13):
            np.testing.assert_allclose(FourierCrop((1, target))(wave(k, 24, 0.3)), 0, atol=1e-13)


def fourier_shift(line, d):
    """Every frequency turned by its angle; the frequency n/2 keeps the part in phase."""
    n, out = len(line), []
    for j in range(n):
        value = 0.0
        for k in range(-(n // 2) + (n % 2 == 0), n // 2 + 1):
            value += (coefficient(line, k) * cmath.exp(2j * math.pi * k * (j + 0.5 - d) / n)).real
        out.append(value)
    return out


@given(n=lengths, d=st.floats(-4, 4), rng=generators)
@settings(max_examples=40, deadline=None)
def test_fourier_shift_by_definition(n, d, rng):
    x = rng.normal(size=(1, n))
    np.testing.assert_allclose(FourierShift(d, 0)(x)[0], fourier_shift(x[0].tolist(), d), atol=1e-13)
    np.testing.assert_allclose(FourierShift(0, d)(x.T)[:, 0], fourier_shift(x[0].tolist(), d), atol=1e-13)


def test_whole_shifts_are_rolls_and_half_shifts_add_up():
    x = np.random.default_rng(0).normal(size=(3, 8, 7))
    np.testing.assert_allclose(FourierShift(3, -2)(x), np.roll(x, (-2, 3), axis=(-2, -1)), atol=1e-13)
    np.testing.assert_allclose(FourierShift(-700_001, 8_000_003)(x), FourierShift(-1, 3)(x), atol=1e-13)
    half = FourierShift(0.5, 0)
    np.testing.assert_allclose(half(half(x)), FourierShift(1, 0)(x), atol=1e-13)  # width 7: nothing is lost
    np.testing.assert_allclose(half.adjoint(x), FourierShift(-0.5, 0)(x), atol=1e-13)


def test_what_a_shift_knows_of_its_noise():
    assert FourierShift(1, -2).gain == FourierShift(0.5, 1).noise_gain((8, 7)) == 1
    assert FourierShift(0.5, 1).gain is FourierShift(0.5, 1).noise_gain((7, 8)) is None
    assert FourierShift(0.5, 0.5).noise_partner().fresh_shape((3, 5, 7)) == (3, 0)
    assert FourierShift(0.5, 0.5).noise_partner().fresh_shape((3, 5, 8)) == (3, 5)
    assert FourierShift(3, 0.5).noise_partner().fresh_shape((3, 6, 8)) == (3, 8)


def test_fresh_noise_of_a_shift_is_only_what_was_lost():
    """By half a pixel the frequency n/2 is gone: the partner's is fresh, the others are those of the shift."""
    noise, shift = np.random.default_rng(0).normal(size=(5, 8)), FourierShift(0.5, 0)
    nyquist = np.array([1.0, -1.0] * 4) / math.sqrt(8)
    added = shift.noise_partner()(noise, 3) - shift(noise)
    np.testing.assert_allclose(shift(noise) @ nyquist, 0, atol=1e-13)
    np.testing.assert_allclose(added, np.outer(added @ nyquist, nyquist), atol=1e-13)
    assert np.abs(added).min() > 1e-3


def test_shift_on_cells():
    assert FourierShift(12, -4).on_cells(8) == FourierShift(1.5, -0.5)


@pytest.mark.parametrize("crop", [FourierCrop, SpectralCrop])
def test_a_crop_to_the_same_size_changes_nothing(crop):
    x = np.random.default_rng(0).normal(size=(3, 12, 7))
    np.testing.assert_allclose(crop((12, 7))(x), x, atol=1e-13)
    np.testing.assert_allclose(crop.by(1)(x), x, atol=1e-13)


@pytest.mark.parametrize("crop", [FourierCrop, SpectralCrop])
def test_a_crop_commutes_with_a_crop(crop):
    """Through a size between or straight: the same frequencies are left (a Nyquist row aside: odd sizes)."""
    x = np.random.default_rng(0).normal(size=(17, 15))
    np.testing.assert_allclose(crop((5, 7))(crop((9, 11))(x)), crop((5, 7))(x), atol=1e-13)


def test_up_and_down_again_by_spectral_crop_is_the_identity():
    x = np.random.default_rng(0).normal(size=(2, 6, 9))
    np.testing.assert_allclose(SpectralCrop((6, 9))(SpectralCrop((13, 9))(x)), x, atol=1e-13)


def test_noise_that_goes_up_keeps_what_was_given():
    """The low frequencies of the large noise are the small noise, and no two seeds agree on the rest."""
    noise = np.random.default_rng(0).normal(size=(2, 6, 9))
    partner = SpectralCrop((13, 7)).noise_partner()  # up and down
    one, other = partner(noise, 1), partner(noise, 2)
    wanted = SpectralCrop((6, 7))(noise) * math.sqrt(9 / 7)
    for large in (one, other):
        np.testing.assert_allclose(SpectralCrop((6, 7))(large) * math.sqrt(13 / 6), wanted, atol=1e-13)
    assert relative(one, other) > 0.1
    with pytest.raises(TypeError, match="give a seed"):
        partner(noise)


@pytest.mark.parametrize("crop", [FourierCrop, SpectralCrop])
def test_noise_that_only_goes_down_needs_no_seed(crop):
    noise = np.random.default_rng(0).normal(size=(2, 12, 9))
    partner = crop((8, 9)).noise_partner()
    assert partner.fresh_shape(noise.shape) == (2, 0)
    np.testing.assert_allclose(partner(noise), crop((8, 9))(noise) / math.sqrt(8 / 12), atol=1e-13)


@pytest.mark.parametrize("crop", [FourierCrop, SpectralCrop])
def test_crops_on_cells(crop):
    assert crop((64, 48)).on_cells(8) == crop((8, 6))
    assert crop.by(Fraction(4, 3)).on_cells(8) == crop.by(Fraction(4, 3))
    with pytest.raises(ValueError, match=r"nearest shape: \(64, 48\)"):
        crop((60, 48)).on_cells(8)


def test_a_composition_with_a_crop_of_one_size_knows_its_gain_there():
    assert (BlockMean(2) @ FourierCrop((8, 8))).noise_gain((32, 16)) == pytest.approx(0.5 * math.sqrt(1 / 8))


@pytest.mark.parametrize(
    ("build", "error", "message"),
    [
        (lambda: FourierCrop(), TypeError, "FourierCrop takes a target shape .* or a scale"),
        (lambda: FourierCrop.by(Fraction(3, 4)), ValueError, "to go up, take SpectralCrop or the transposed"),
        (lambda: FourierShift(math.inf, 0), ValueError, "dx must be finite"),
        (lambda: FourierShift(0, "1"), TypeError, "dy must be a real number"),
        (lambda: FourierShift(True, 0), TypeError, "dx must be a real number"),
        (lambda: SpectralCrop((9, 4)).transposed((6, 6)).noise_partner(), ValueError, "not isotropic"),
        (lambda: SpectralCrop((4, 4)).transposed().noise_partner(), ValueError, "not isotropic"),
    ],
)
def test_refusals(build, error, message):
    with pytest.raises(error, match=message):
        build()
