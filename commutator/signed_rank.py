"""Wilcoxon's signed-rank test on paired numbers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

ALTERNATIVES = ("two-sided", "less", "greater")


@dataclass(frozen=True)
class SignedRank:
    """What the test says of paired samples `a` and `b`.

    Attributes:
        statistic: the rank sum of the positive differences a - b (one-sided), or the smaller of both sums (two-sided).
        p_value: the chance of a statistic as extreme if the differences were symmetric around 0.
        median_difference: median of a - b.
        smaller: the name of the smaller one by the median, or None where it is 0.
    """

    statistic: float
    p_value: float
    median_difference: float
    smaller: str | None


def signed_rank(a: np.ndarray, b: np.ndarray, names: tuple[str, str], alternative: str = "two-sided") -> SignedRank:
    """The test for paired `a` and `b` (n,); alternative="less" asks whether `a` is smaller.

    Zero differences are left out (Wilcoxon's rule); where all are zero nothing speaks against equality, and p is 1.
    Raises ValueError for different counts, values that are not finite, or another alternative.
    Source: Wilcoxon 1945, as computed by `scipy.stats.wilcoxon`.
    """
    if alternative not in ALTERNATIVES:
        raise ValueError(f"alternative must be one of {ALTERNATIVES}, got {alternative!r}")
    if a.shape != b.shape:
        raise ValueError(f"paired samples are needed: got {a.shape[0]} and {b.shape[0]}")
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise ValueError("a norm is not finite (a relative norm where A x0hat is 0): compare absolute norms")
    difference = a - b
    median = float(np.median(difference))
    if not difference.any():
        return SignedRank(0.0, 1.0, 0.0, None)

    from scipy.stats import wilcoxon

    # Left out here: with zeros, older releases of scipy approximate the p-value of small samples by a normal one.
    test = wilcoxon(difference[difference != 0], alternative=alternative)
    smaller = names[median > 0] if median else None
    return SignedRank(float(test.statistic), float(test.pvalue), median, smaller)
