"""Resizes against loops over pixels, torch and PIL, and the split of noise against its formula."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from laws import joint_gram, relative

from commutant.operators import BlockMean, ConditionalUpsampling, Resize, ShapeError, Whitened
from commutant.operators.resize import KERNELS

lengths = st.integers(1, 9)
generators = st.integers(0, 2**32 - 1).map(np.random.default_rng)


def sinc(u):
    return 1.0 if u == 0 else math.sin(math.pi * u) / (math.pi * u)


def cubic(u, a):
    u = abs(u)
    if u < 1:
        return (a + 2) * u**3 - (a + 3) * u**2 + 1
    return a * u**3 - 5 * a * u**2 + 8 * a * u - 4 * a if u < 2 else 0.0


def taps(kernel, u, antialias):
    if kernel == "bilinear":
        return max(0.0, 1 - abs(u))
    if kernel == "bicubic":
        return cubic(u, -0.5 if antialias else -0.75)
    return sinc(u) * sinc(u / 3) if abs(u) < 3 else 0.0


def by_loop(line, target, kernel, antialias):
    """One axis, pixel by pixel."""
    n, step = len(line), Fraction(len(line), target)
    out = []
    for i in range(target):
        if kernel == "area":
            covered = [max(0, min((i + 1) * step, j + 1) - max(i * step, j)) for j in range(n)]
            weights = dict(enumerate(covered))
        elif antialias:
            width = max(step, 1)
            weights = {
                j: taps(kernel, float((j + Fraction(1, 2) - (i + Fraction(1, 2)) * step) / width), True)
                for j in range(n)
            }
        else:
            weights = dict.fromkeys(range(n), 0.0)
            for j in range(-4, n + 4):
                at = float(j + Fraction(1, 2) - (i + Fraction(1, 2)) * step)
                weights[min(max(j, 0), n - 1)] += taps(kernel, at, False)
        total = float(sum(weights.values()))
        out.append(math.fsum(float(w) * line[j] for j, w in weights.items()) / total)
    return out


CHOICES = [(kernel, True) for kernel in KERNELS] + [(kernel, False) for kernel in KERNELS if kernel != "area"]


@pytest.mark.parametrize(("kernel", "antialias"), CHOICES)
@given(source=lengths, target=lengths, rng=generators)
@settings(max_examples=25, deadline=None)
def test_resize_by_loop(kernel, antialias, source, target, rng):
    x = rng.normal(size=(1, source))
    wanted = by_loop(x[0].tolist(), target, kernel, antialias)
    np.testing.assert_allclose(Resize((1, target), kernel, antialias)(x)[0], wanted, atol=1e-13)
    np.testing.assert_allclose(Resize((target, 1), kernel, antialias)(x.T)[:, 0], wanted, atol=1e-13)


@pytest.mark.parametrize("kernel", ["bilinear", "bicubic"])
@pytest.mark.parametrize("antialias", [True, False])
@pytest.mark.parametrize(("source", "target"), [((64, 48), (32, 36)), ((20, 30), (45, 31)), ((33, 17), (5, 40))])
def test_resize_agrees_with_torch(kernel, antialias, source, target):
    torch = pytest.importorskip("torch")
    x = torch.randn(2, 3, *source, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    theirs = torch.nn.functional.interpolate(x, size=target, mode=kernel, antialias=antialias, align_corners=False)
    torch.testing.assert_close(Resize(target, kernel, antialias)(x), theirs, rtol=0, atol=1e-5)
    other = torch.nn.functional.interpolate(x, size=target, mode=kernel, antialias=antialias, align_corners=True)
    assert relative(Resize(target, kernel, antialias)(x), other) > 1e-2  # the check tells another alignment


@pytest.mark.parametrize("kernel", ["bilinear", "bicubic", "lanczos"])
@pytest.mark.parametrize(("source", "target"), [((64, 48), (32, 36)), ((20, 30), (45, 31)), ((33, 17), (5, 40))])
def test_resize_agrees_with_pil(kernel, source, target):
    image = pytest.importorskip("PIL.Image")
    x = np.random.default_rng(0).normal(size=source).astype(np.float32)
    theirs = np.asarray(image.fromarray(x).resize(target[::-1], getattr(image.Resampling, kernel.upper())))
    np.testing.assert_allclose(Resize(target, kernel)(x), theirs, atol=1e-5)


def test_area_by_whole_numbers_is_the_block_mean():
    mean = BlockMean((2, 3))
    for op in (Resize.by((2, 3)), Resize((6, 4))):
        assert np.array_equal(op.matrix((12, 12)).toarray(), mean.matrix((12, 12)).toarray())
        assert op.noise_gain((12, 12)) == pytest.approx(mean.gain, rel=1e-15)
    assert Resize.by((2, 3)).gain == mean.gain
    assert Resize.by((2, 3)).noise_partner().carrier == Whitened(Resize.by((2, 3)))
    assert Resize((6, 4)).gain is Resize((6, 4)).noise_gain((12, 11)) is Resize.by(Fraction(3, 2)).gain is None
    x = np.random.default_rng(0).normal(size=(3, 12, 12))
    np.testing.assert_allclose(Resize((6, 4)).noise_partner()(x), mean.noise_partner()(x), atol=1e-13)  # no seed


def test_gains_found_in_the_matrix():
    assert Resize((4, 4), "bilinear", antialias=False).noise_gain((12, 4)) == pytest.approx(1)  # every third pixel
    assert Resize((4, 4), "bilinear", antialias=False).noise_gain((8, 8)) == pytest.approx(0.5)
    assert Resize((4, 4), "bilinear").noise_gain((8, 8)) is None
    assert Resize((8, 8), "lanczos").noise_gain((8, 8)) == pytest.approx(1)
    assert Resize.by(1, "bicubic").gain == 1


def split_by_loop(line, target, fresh):
    """The formula of one axis: a source cell after the other, a fresh normal for each piece of a divided cell."""
    n, out, received, used = len(line), [0.0] * target, [0.0] * target, 0
    step = Fraction(n, target)
    for j, value in enumerate(line):
        parts = {i: max(0, min((i + 1) * step, j + 1) - max(i * step, j)) for i in range(target)}
        parts = {i: float(a) for i, a in parts.items() if a > 0}
        loose = {}
        for i, a in parts.items():
            loose[i] = math.sqrt(a) * fresh[used] if len(parts) > 1 else 0.0
            used += len(parts) > 1
        for i, a in parts.items():
            out[i] += a * value + loose[i] - a * sum(loose.values())
            received[i] += a
    assert used == len(fresh)
    return [v / math.sqrt(a) for v, a in zip(out, received)]


@given(source=lengths, target=lengths, kernel=st.sampled_from(KERNELS), rng=generators)
@settings(max_examples=40, deadline=None)
def test_area_split_by_loop(source, target, kernel, rng):
    noise = rng.normal(size=(1, source))
    for op, x in ((Resize((1, target), kernel), noise), (Resize((target, 1), kernel), noise.T)):
        partner = op.noise_partner()
        fresh = rng.normal(size=partner.fresh_shape(x.shape))
        wanted = split_by_loop(noise[0].tolist(), target, fresh.tolist())
        np.testing.assert_allclose(partner.combined(x, fresh).ravel(), wanted, atol=1e-13)


def test_going_up_by_a_whole_factor_is_conditional_upsampling():
    """The same map of the given noise, and the same covariance of the fresh part: equal in law."""
    up, mean = Resize((6, 8), "area").noise_partner(), ConditionalUpsampling(BlockMean(2).transposed())
    noise, size = np.random.default_rng(0).normal(size=(3, 4)), (3, 4)
    still = (np.zeros(partner.fresh_shape(size)) for partner in (up, mean))
    np.testing.assert_allclose(up.combined(noise, next(still)), mean.combined(noise, next(still)), atol=1e-14)
    np.testing.assert_allclose(joint_gram(up, size), joint_gram(mean, size), atol=1e-14)
    large = up(noise, 5)
    np.testing.assert_allclose(2 * BlockMean(2)(large), noise, atol=1e-6)  # nothing of the given noise is lost


def test_resize_on_cells_and_sizes():
    assert Resize((64, 48), "lanczos").on_cells(8) == Resize((8, 6), "lanczos")
    assert Resize.by(2, "bicubic", antialias=False).on_cells(8) == Resize.by(2, "bicubic", antialias=False)
    assert Resize.by((Fraction(1, 2), Fraction(3, 2))).out_shape((3, 5, 6)) == (3, 10, 4)
    with pytest.raises(ShapeError, match="multiples of 1 and 3"):
        Resize.by((Fraction(1, 2), Fraction(3, 2))).out_shape((5, 7))


@pytest.mark.parametrize(
    ("build", "error", "message"),
    [
        (lambda: Resize(), TypeError, "Resize takes a target shape .* or a scale"),
        (lambda: Resize((2, 2), "nearest"), ValueError, "kernel must be one of 'area', 'bilinear'"),
        (lambda: Resize((2, 2), "area", antialias=False), ValueError, "none without antialias"),
        (lambda: Resize((2, 2), "bicubic", antialias=1), TypeError, "antialias must be True or False"),
        (lambda: Resize.by(0), ValueError, "more than 0"),
        (lambda: Resize.by(0.5), TypeError, "Fraction"),
    ],
)
def test_refusals(build, error, message):
    with pytest.raises(error, match=message):
        build()
