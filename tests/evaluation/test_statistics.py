"""Intervals hold what they promise, and pairing tells apart what separate intervals cannot."""

from __future__ import annotations

import numpy as np
import pytest

from commutant.integrations.evaluation import compare, mean_interval, paired_interval


def test_an_interval_covers_the_true_mean_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    found = [mean_interval(rng.normal(3.0, 2.0, 60), rng, resamples=400) for _ in range(400)]
    covered = np.mean([not interval.excludes(3.0) for interval in found])
    # 95% with a standard error of 1.1%; the percentile bootstrap covers a little less at 60 values.
    assert 0.90 < covered < 0.985
    narrow = [mean_interval(rng.normal(3.0, 2.0, 60), rng, level=0.5, resamples=400) for _ in range(200)]
    assert 0.38 < np.mean([not interval.excludes(3.0) for interval in narrow]) < 0.62


def test_a_mean_and_its_bounds() -> None:
    values = np.array([1.0, 2.0, 3.0, 4.0])
    interval = mean_interval(values, np.random.default_rng(0))
    assert interval.mean == 2.5
    assert 1.0 <= interval.low < 2.5 < interval.high <= 4.0
    assert (interval.low, interval.high) == (
        mean_interval(values, np.random.default_rng(0)).low,
        mean_interval(values, np.random.default_rng(0)).high,
    )
    constant = mean_interval(np.full(9, 2.0), np.random.default_rng(0))
    assert (constant.low, constant.mean, constant.high) == (2.0, 2.0, 2.0)
    assert str(constant) == "2.000 [2.000, 2.000]"


def test_the_bounds_are_those_of_the_tables() -> None:
    """As computed when the tables of docs/results were made: the same draws, the same quantiles."""
    values = np.random.default_rng(3).normal(20.0, 3.0, 64)
    means = np.random.default_rng(0).choice(values, (4000, 64)).mean(axis=1)
    interval = mean_interval(values, np.random.default_rng(0))
    assert (interval.low, interval.high) == pytest.approx(tuple(np.quantile(means, [0.025, 0.975])), rel=1e-12)
    alone = mean_interval(values[:1], np.random.default_rng(0))
    assert alone.low == alone.mean == alone.high == values[0]


def test_pairs_are_resampled_together() -> None:
    rng = np.random.default_rng(1)
    scenes = rng.normal(20, 5, 100)  # what prompt and seed do to both
    a, b = scenes + rng.normal(0.3, 0.5, 100), scenes + rng.normal(0.0, 0.5, 100)
    alone = [mean_interval(x, np.random.default_rng(2)) for x in (a, b)]
    assert alone[0].low < alone[1].high
    paired = paired_interval(a, b, np.random.default_rng(2))
    assert paired.excludes(0.0)
    assert paired.mean == pytest.approx(np.mean(a - b))
    shuffled = paired_interval(a, rng.permutation(b), np.random.default_rng(2))
    assert not shuffled.excludes(0.0)


def test_both_answers_of_a_comparison() -> None:
    rng = np.random.default_rng(3)
    b = rng.normal(20, 5, 64)
    found = compare(b + rng.normal(0.5, 0.2, 64), b, ("a", "b"), np.random.default_rng(0))
    assert found.difference.low > 0.4
    assert found.test.p_value < 1e-9
    assert found.test.smaller == "b"
    same = compare(b, b, ("a", "b"), np.random.default_rng(0))
    assert (same.difference.low, same.difference.high, same.test.p_value) == (0.0, 0.0, 1.0)


def test_what_cannot_be_averaged_is_refused() -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="n > 0"):
        mean_interval(np.array([]), rng)
    with pytest.raises(ValueError, match="2 of 3 values are not finite"):
        mean_interval(np.array([1.0, np.nan, np.inf]), rng)
    with pytest.raises(ValueError, match="paired"):
        paired_interval(np.ones(3), np.ones(1), rng)
    with pytest.raises(ValueError, match="level"):
        mean_interval(np.ones(3), rng, level=95)
    with pytest.raises(ValueError, match="resample"):
        mean_interval(np.ones(3), rng, resamples=0)
