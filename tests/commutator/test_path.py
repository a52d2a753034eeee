"""The three probability paths and where a noise gain moves a state on them."""

import math
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from commutant.commutator import PATHS, RectifiedFlow, Transport, VarianceExploding, VariancePreserving
from commutant.operators import BlockMean, SpectralCrop, StridedSelection

from .worlds import highest, normal, paths, relative

TOLERANCE = 1e-12
ALPHA = 1e-5  # false-alarm rate of one statistical report
gains = st.floats(0.02, 50.0)
fractions = st.floats(0.0, 1.0)


def law(path, gain, t) -> float:
    """|scale (alpha(t), g sigma(t)) - (alpha(t'), sigma(t'))|, in units of the larger of the two numbers."""
    scale, moved = path.transport(gain, t)
    left = np.array([scale * path.alpha(t), scale * gain * path.sigma(t)])
    right = np.array([path.alpha(moved), path.sigma(moved)])
    return float(np.abs(left - right).max() / np.abs(right).max())


def group(path, first, second, t) -> float:
    """transport(g1) and then transport(g2) is transport(g1 g2), in scale and in time."""
    a, at = path.transport(first, t)
    b, end = path.transport(second, at)
    scale, moved = path.transport(first * second, t)
    return max(abs(a * b / scale - 1), abs(end - moved) / max(moved, 1e-30) if moved else abs(end))


@given(path=paths, gain=gains, u=fractions)
def test_transport_law(path, gain, u):
    assert law(path, gain, u * highest(path)) <= TOLERANCE


@given(path=paths, first=gains, second=gains, u=st.one_of(st.floats(1e-6, 1.0), st.just(0.0)))
def test_transports_form_a_group(path, first, second, u):
    assert group(path, first, second, u * highest(path)) <= 1e-11


@given(path=paths, u=fractions)
def test_gain_one_is_the_identity(path, u):
    t = u * highest(path)
    scale, moved = path.transport(1.0, t)
    assert abs(scale - 1) <= TOLERANCE
    assert abs(moved - t) <= TOLERANCE * t


@given(path=paths, gain=gains, u=st.floats(0.01, 0.99))
def test_noise_to_signal_is_multiplied_by_the_gain(path, gain, u):
    t = u * highest(path)
    _, moved = path.transport(gain, t)
    high, low = path.sigma(t) / path.alpha(t), path.sigma(moved) / path.alpha(moved)
    assert abs(low / (gain * high) - 1) <= 1e-9


@dataclass(frozen=True)
class Unscaled(RectifiedFlow):
    """Broken: moves the time and forgets to scale."""

    def transport(self, gain, t):
        return 1.0, super().transport(gain, t)[1]


@dataclass(frozen=True)
class Straight(RectifiedFlow):
    """Broken: multiplies the time by the gain, as if the flow were variance exploding."""

    def transport(self, gain, t):
        return super().transport(gain, t)[0], gain * t


def test_the_laws_tell_a_broken_path():
    assert law(Unscaled(), 0.5, 0.8) > 0.1
    assert law(Straight(), 0.5, 0.8) > 0.1
    assert group(Straight(), 0.5, 0.5, 0.8) > 0.1


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
@given(gain=gains)
def test_the_ends_are_fixed_exactly(path, gain):
    """Clean stays clean; pure noise stays pure noise, exactly, with its standard deviation kept."""
    scale, moved = path.transport(gain, 0.0)
    assert (scale, moved) == (1.0, 0.0)
    if path.name != "variance-exploding":
        scale, moved = path.transport(gain, 1.0)
        assert moved == 1.0
        assert scale == pytest.approx(1 / gain, rel=1e-15)


def test_values_worked_by_hand():
    assert RectifiedFlow().transport(0.5, 0.8) == pytest.approx((1 / 0.6, 0.4 / 0.6))
    assert VarianceExploding().transport(0.5, 10.0) == (1.0, 5.0)
    assert VariancePreserving().transport(0.5, 0.8) == pytest.approx((1 / math.sqrt(0.52), 0.4 / math.sqrt(0.52)))


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
@pytest.mark.parametrize("gain", [0.0, -0.5, math.nan, math.inf])
def test_refuses_gains_that_are_none(path, gain):
    with pytest.raises(ValueError, match="noise gain"):
        path.transport(gain, 0.5)


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
@pytest.mark.parametrize("t", [-1e-9, math.nan, math.inf, 1.0 + 1e-5])
def test_refuses_times_off_the_path(path, t):
    if path.name == "variance-exploding" and math.isfinite(t) and t > 0:
        assert path.transport(0.5, t) == (1.0, 0.5 * t)
    else:
        with pytest.raises(ValueError, match=path.name):
            path.transport(0.5, t)


@given(path=paths, u=st.floats(0.01, 1.0), seed=st.integers(0, 99))
def test_denoised_and_output_are_inverse(path, u, seed):
    t = u * highest(path)
    x, value = normal(seed, 2, 1, 3, 4, 4)
    assert relative(path.denoised(path.output(value, x, t), x, t), value) <= 1e-10
    assert relative(path.output(path.denoised(value, x, t), x, t), value) <= 1e-10


@given(u=st.floats(0.01, 0.99), seed=st.integers(0, 99))
def test_outputs_are_what_the_models_predict(u, seed):
    """Velocity eps - x0 on the rectified flow, eps on the variance preserving path, x0 on the exploding one."""
    clean, noise = normal(seed, 2, 1, 1, 4, 4)
    predicted = {"rectified-flow": noise - clean, "variance-preserving": noise, "variance-exploding": clean}
    for name, path in PATHS.items():
        x = path.alpha(u) * clean + path.sigma(u) * noise
        assert relative(path.output(clean, x, u), predicted[name]) <= 1e-10


def test_ends_where_a_prediction_says_nothing_are_refused():
    x = np.ones((1, 1, 2, 2))
    with pytest.raises(ValueError, match="t = 0"):
        RectifiedFlow().output(x, x, 0.0)
    with pytest.raises(ValueError, match="sigma = 0"):
        VariancePreserving().output(x, x, 0.0)
    with pytest.raises(ValueError, match="sigma = 1"):
        VariancePreserving().denoised(x, x, 1.0)


def marginal_p(path, operator, t, seed, *, gain=None) -> float:
    """Smallest p of three tests that the transported state of an image plus noise is alpha(t') A x0 + sigma(t') eps.

    The standardised residuals are then independent N(0, 1): Kolmogorov-Smirnov on their law, chi-square on their sum
    of squares, and the sum of products of horizontal neighbours against N(0, count) (at least 3,600 of them, so that
    the central limit holds). Bonferroni over the three.
    """
    rng = np.random.default_rng(seed)
    clean = rng.standard_normal((1, 1, 12, 12))
    x = path.alpha(t) * clean + path.sigma(t) * rng.standard_normal((200, 1, 12, 12))
    transport = Transport(operator, path, operator.noise_gain(x.shape) if gain is None else gain)
    moved = transport.time_of(t)
    residual = (transport.state(x, t) - path.alpha(moved) * operator(clean)) / path.sigma(moved)
    neighbours = residual[..., ::2][..., : residual.shape[-1] // 2] * residual[..., 1::2]
    correlated = 2 * stats.norm.sf(abs(neighbours.sum()) / math.sqrt(neighbours.size))
    squares, count = (residual**2).sum(), residual.size
    spread = 2 * min(stats.chi2.cdf(squares, count), stats.chi2.sf(squares, count))
    return float(3 * min(stats.kstest(residual.ravel(), "norm").pvalue, correlated, spread))


# Fixed seeds: ALPHA is what a new seed would risk. 3 paths x 3 operators x 3 times: below 3e-4 for all together.
@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
@pytest.mark.parametrize("operator", [BlockMean(2), StridedSelection(2, 3), SpectralCrop((9, 8))], ids=repr)
@pytest.mark.parametrize("u", [0.2, 0.7, 0.98])
def test_transported_states_have_the_marginal_of_the_low_resolution_problem(path, operator, u):
    assert marginal_p(path, operator, u * highest(path), seed=20260601) > ALPHA


def test_the_marginal_test_tells_a_wrong_gain_and_coloured_noise():
    path = RectifiedFlow()
    assert marginal_p(path, BlockMean(2), 0.7, 1, gain=0.55) < ALPHA
    assert marginal_p(path, StridedSelection(2), 0.7, 1, gain=0.9) < ALPHA
    assert marginal_p(path, _Doubled(BlockMean(2)), 0.7, 1, gain=0.5) < ALPHA


@dataclass(frozen=True)
class _Doubled:
    """Broken: every other column repeats its neighbour, so the noise is not white."""

    inner: BlockMean

    def __call__(self, x):
        y = self.inner(x).copy()
        y[..., 1::2] = y[..., ::2]
        return y


@pytest.mark.parametrize("path", [RectifiedFlow(), VariancePreserving()], ids=lambda path: path.name)
def test_a_float32_rounding_beyond_the_noisy_end_is_the_end(path):
    assert path.transport(0.5, 1.0000001192092896) == path.transport(0.5, 1.0)
