"""The signed-rank test against its definition: all sign patterns of the ranks."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from commutant.commutator import signed_rank

from .worlds import normal, seeds


def by_enumeration(difference, alternative):
    """(statistic, p): the rank sum of positive differences among the 2^n equally likely sign patterns."""
    ranks = np.abs(difference).argsort().argsort() + 1
    observed = ranks[difference > 0].sum()
    sums = np.array([np.dot(signs, ranks) for signs in product((0, 1), repeat=len(ranks))])
    less, greater = (sums <= observed).mean(), (sums >= observed).mean()
    both = min(1.0, 2 * min(less, greater))
    statistic = min(observed, ranks.sum() - observed) if alternative == "two-sided" else observed
    return statistic, {"less": less, "greater": greater, "two-sided": both}[alternative]


@settings(max_examples=40)
@given(n=st.integers(1, 9), alternative=st.sampled_from(["two-sided", "less", "greater"]), seed=seeds)
def test_it_is_its_definition(n, alternative, seed):
    a, b = normal(seed, 2, n)
    result = signed_rank(a, b, ("a", "b"), alternative)
    assert (result.statistic, result.p_value) == pytest.approx(by_enumeration(a - b, alternative))
    assert result.median_difference == np.median(a - b)
    assert result.smaller == ("a" if np.median(a - b) < 0 else "b")


def test_the_side_matters():
    a, b = np.arange(8.0), np.arange(8.0) + np.linspace(1, 2, 8)
    assert signed_rank(a, b, ("a", "b"), "less").p_value == pytest.approx(2**-8)
    assert signed_rank(a, b, ("a", "b"), "greater").p_value == 1.0


def test_zero_differences_are_left_out_and_count_for_the_median():
    a, b = np.array([0.0, 0, 0, 1, 2, 3, 4]), np.zeros(7)
    result = signed_rank(a, b, ("a", "b"), "greater")
    assert result.p_value == pytest.approx(2**-4)
    assert result.median_difference == 1.0
    assert signed_rank(b, a[:3].repeat(3)[:7], ("a", "b")).p_value == 1.0
    assert signed_rank(b, b, ("a", "b")).smaller is None


def test_refusals():
    a = np.ones(4)
    with pytest.raises(ValueError, match="alternative must be one of"):
        signed_rank(a, a, ("a", "b"), "smaller")
    with pytest.raises(ValueError, match="got 4 and 3"):
        signed_rank(a, a[:3], ("a", "b"))
    with pytest.raises(ValueError, match="compare absolute norms"):
        signed_rank(a, a * np.nan, ("a", "b"))
