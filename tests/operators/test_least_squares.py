"""What least squares finds: a map known beforehand, the minimum of the stated problem, or a refusal."""

import math

import numpy as np
import pytest

from commutant.operators import BlockMean, FittedResize, SpectralCrop, fit_resize


def example(k=4, channels=2, seed=0):
    rng = np.random.default_rng(seed)
    return FittedResize(2, rng.normal(size=(channels, channels, k, k)), rng.normal(size=channels))


def pairs_of(op, count=20, size=12, noise=0.0, seed=0):
    """One batch of smooth-free random latents and what `op` makes of them, with noise in it."""
    rng = np.random.default_rng(seed)
    high = rng.normal(size=(count, op.weights.shape[1], size, size))
    low = op.affine(high)
    return high, low + noise * rng.normal(size=low.shape)


@pytest.mark.parametrize("k", [2, 4, 6])
def test_a_known_map_is_recovered(k):
    op = example(k)
    high, low = pairs_of(op)
    found, report = fit_resize([(high[:11], low[:11]), (high[11:], low[11:])], cells=k, ridge=0)
    np.testing.assert_allclose(found.weights, op.weights, atol=1e-9)
    np.testing.assert_allclose(found.bias, op.bias, atol=1e-9)
    assert report.fitted < 1e-7
    assert report.helps
    assert (report.pairs, report.held_out, report.samples) == (16, 4, 16 * 36)
    _, chosen = fit_resize([(high, low)], cells=k)
    assert chosen.ridge == 1e-6
    assert chosen.fitted < 1e-4


def test_the_report_measures_what_it_says():
    op = example()
    fitting, apart = pairs_of(op, noise=3.0), pairs_of(op, 5, noise=3.0, seed=1)
    found, report = fit_resize([fitting], ridge=0.01, held_out=[apart])
    high, low = apart
    for name, way in (("fitted", found.affine), ("mean", BlockMean(2)), ("crop", SpectralCrop.by(2))):
        wanted = np.linalg.norm(way(high) - low) / np.linalg.norm(low)
        assert getattr(report, name) == pytest.approx(wanted, rel=1e-9)
    assert (report.pairs, report.held_out) == (20, 5)
    assert f"fitted {report.fitted:.1%}" in str(report)


def test_the_minimum_is_that_of_the_stated_problem():
    """Against numpy's solver on the stacked system."""
    high, low = pairs_of(example(), noise=2.0)
    found, _ = fit_resize([(high, low)], ridge=0.3, held_out=[(high, low)])
    rows, start = [], FittedResize.of(BlockMean(2), 2, 2, 4)
    for c, a, b in np.ndindex(2, 4, 4):
        weights = np.zeros((1, 2, 4, 4))
        weights[0, c, a, b] = 1
        rows.append(FittedResize(2, weights)(high).ravel())
    design = np.stack([*rows, np.ones(rows[0].size)], axis=1)
    ridge = math.sqrt(0.3 * np.square(design).mean() * len(design)) * np.eye(33)
    for channel in range(2):
        anchor = np.append(start.weights[channel].ravel(), 0)
        target = np.concatenate([low[:, channel].ravel(), ridge @ anchor])
        wanted = np.linalg.lstsq(np.concatenate([design, ridge]), target)[0]
        np.testing.assert_allclose(np.append(found.weights[channel], found.bias[channel]), wanted, atol=1e-9)


@pytest.mark.parametrize("towards", ["mean", "crop"])
def test_shrinkage_ends_at_the_plain_operator(towards):
    plain = FittedResize.of({"mean": BlockMean(2), "crop": SpectralCrop.by(2)}[towards], 2, 2, 4)
    distances = []
    for ridge in (0, 1e-2, 1, 1e2, 1e12):
        found, _ = fit_resize([pairs_of(example())], ridge=ridge, towards=towards)
        distances.append(np.linalg.norm(found.weights - plain.weights) + np.linalg.norm(found.bias))
    assert distances == sorted(distances, reverse=True)
    assert distances[0] > 1
    assert distances[-1] < 1e-10


def test_what_the_data_do_not_say_stays_plain():
    """Latents that are constant in space fix the sums of the weights only; the rest is that of the mean."""
    rng = np.random.default_rng(0)
    high = np.broadcast_to(rng.normal(size=(40, 2, 1, 1)), (40, 2, 8, 8))
    found, report = fit_resize([(high, 3 * BlockMean(2)(high))], ridge=0)
    assert report.fitted < 1e-7
    mean = FittedResize.of(BlockMean(2), 2, 2, 4).weights
    difference = found.weights - mean
    np.testing.assert_allclose(difference, difference.mean((2, 3), keepdims=True) * np.ones((4, 4)), atol=1e-9)
    np.testing.assert_allclose(found.weights.sum((2, 3)), 3 * np.eye(2), atol=1e-9)


def test_the_ridge_grows_with_the_noise():
    op = FittedResize.of(BlockMean(2), 2, 2, 4)
    chosen = [fit_resize([pairs_of(op, noise=noise)])[1].ridge for noise in (0.0, 5.0)]
    assert chosen[0] < chosen[1]


def test_pairs_that_chose_the_ridge_are_fitted_too():
    given = [pairs_of(example(), noise=5.0)]
    found, report = fit_resize(given)
    again, told = fit_resize(given, ridge=report.ridge)
    np.testing.assert_allclose(found.weights, again.weights, atol=1e-9)
    assert report.fitted == pytest.approx(told.fitted)
    assert (report.pairs, report.samples) == (told.pairs, told.samples) == (16, 16 * 36)


def test_shrinks_towards_an_operator_of_ones_own():
    known = example()
    found, _ = fit_resize([pairs_of(example(seed=1))], ridge=1e12, towards=known)
    np.testing.assert_allclose(found.weights, known.weights, atol=1e-9)
    np.testing.assert_allclose(found.bias, known.bias, atol=1e-9)


def test_torch_pairs_and_batches_of_other_sizes():
    torch = pytest.importorskip("torch")
    op = example()
    parts = [pairs_of(op, 10, 12), pairs_of(op, 10, 8, seed=1)]
    wanted, _ = fit_resize(parts, ridge=0.1)
    found, _ = fit_resize(
        ((torch.from_numpy(h).requires_grad_(), torch.from_numpy(low)) for h, low in parts), ridge=0.1
    )
    assert found == wanted


def test_memory_does_not_depend_on_the_slices(monkeypatch):
    wanted, _ = fit_resize([pairs_of(example())], ridge=0.1)
    monkeypatch.setattr("commutant.operators.least_squares.SLICE", 1)
    found, _ = fit_resize([pairs_of(example())], ridge=0.1)
    np.testing.assert_allclose(found.weights, wanted.weights, atol=1e-12)


def changed(high=None, low=None):
    given = pairs_of(example())
    return [(given[0] if high is None else high(given[0]), given[1] if low is None else low(given[1]))]


def with_nan(a):
    return np.where(np.arange(a.size).reshape(a.shape) == 5, np.nan, a)


@pytest.mark.parametrize(
    ("pairs", "options", "reason"),
    [
        ([], {}, "too few pairs: none left to fit"),
        (changed(lambda h: h[:4], lambda low: low[:4]), {}, "none left held out"),
        (changed(lambda h: h[:2], lambda low: low[:2]), {"held_out": changed()}, "none left to choose the ridge"),
        ([pairs_of(example(), 5, 4)], {}, "too few samples: 16 low pixels in 4 pairs.*33 unknowns.*need 132"),
        (changed(high=with_nan), {}, r"pairs\[0\], high holds values that are not finite"),
        (changed(low=with_nan), {}, r"pairs\[0\], low holds values that are not finite"),
        (changed(low=lambda low: low[:, :, 1:]), {}, "does not go together at scale 2"),
        (changed(high=lambda h: h[:-1]), {}, "does not go together"),
        (changed(high=lambda h: h[..., :-1]), {}, "does not go together"),
        (changed(low=lambda low: low[:, :1]), {}, "does not go together"),
        (changed(high=lambda h: h[0]), {}, "must be floats"),
        (changed(high=lambda h: h.astype(int)), {}, "must be floats"),
        (changed(low=lambda low: 0 * low), {}, "all zeros"),
        ([*changed(), pairs_of(example(channels=3))], {}, r"pairs\[1\] has 3 channels, those before it 2"),
        (changed(), {"held_out": [pairs_of(example(channels=3))]}, "pairs have 2 channels, held_out 3"),
        (changed(), {"cells": 5}, "cannot be centred"),
        (changed(), {"ridge": -1}, "at least 0"),
        (changed(), {"ridge": math.inf}, "finite"),
        (changed(), {"towards": "zero"}, "towards must be"),
        (changed(), {"towards": example(6)}, "is not of scale 2, 2 channels and 4 x 4 cells"),
    ],
    ids=lambda v: v if isinstance(v, str) else "",
)
def test_fits_that_are_refused(pairs, options, reason):
    with pytest.raises(ValueError, match=reason):
        fit_resize(pairs, **options)
