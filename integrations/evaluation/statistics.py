"""What a mean over prompts and seeds is worth: bootstrap intervals, and paired comparisons of two methods."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...commutator import SignedRank, signed_rank

RESAMPLES = 4000
LEVEL = 0.95


@dataclass(frozen=True)
class Interval:
    """A mean and the bounds of its bootstrap interval at `level`."""

    mean: float
    low: float
    high: float
    level: float = LEVEL

    def __str__(self) -> str:
        return f"{self.mean:.3f} [{self.low:.3f}, {self.high:.3f}]"

    def excludes(self, value: float) -> bool:
        """Whether a value lies outside the bounds."""
        return not self.low <= value <= self.high


@dataclass(frozen=True)
class PairedDifference:
    """Two methods on the same prompts and seeds: interval of the mean of a - b, and the signed-rank test."""

    difference: Interval
    test: SignedRank


def mean_interval(
    values: np.ndarray, rng: np.random.Generator, *, level: float = LEVEL, resamples: int = RESAMPLES
) -> Interval:
    """Percentile bootstrap interval of the mean of `values` (n,), by `scipy.stats.bootstrap`.

    Source: Efron 1979. Raises ValueError for no values, values that are not finite (a mean over some of the pairs would
    hide which), a level outside (0, 1) or less than one resample.
    """
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 1 or not len(values):
        raise ValueError(f"values (n,) with n > 0 are needed, got shape {values.shape}")
    if not np.isfinite(values).all():
        raise ValueError(f"{int((~np.isfinite(values)).sum())} of {len(values)} values are not finite")
    if not 0 < level < 1:
        raise ValueError(f"a level lies between 0 and 1, got {level}")
    if resamples < 1:
        raise ValueError(f"at least one resample is needed, got {resamples}")
    from scipy.stats import bootstrap  # slow to import

    mean = float(values.mean())
    if len(values) == 1:  # every resample is the value
        return Interval(mean, mean, mean, level)
    found = bootstrap(
        (values,),
        np.mean,
        n_resamples=resamples,
        confidence_level=level,
        method="percentile",
        random_state=rng,  # the name that every release from 1.11 on takes
    ).confidence_interval
    return Interval(mean, float(found.low), float(found.high), level)


def paired_interval(
    a: np.ndarray, b: np.ndarray, rng: np.random.Generator, *, level: float = LEVEL, resamples: int = RESAMPLES
) -> Interval:
    """Bootstrap interval of the mean of a - b for paired `a` and `b` (n,): pairs are resampled, not single values.

    What a prompt and seed do to both cancels, so this tells methods apart whose separate intervals overlap widely.
    Raises ValueError for different counts, and as `mean_interval` does.
    """
    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if a.shape != b.shape:
        raise ValueError(f"paired values are needed, got shapes {a.shape} and {b.shape}")
    return mean_interval(a - b, rng, level=level, resamples=resamples)


def compare(
    a: np.ndarray,
    b: np.ndarray,
    names: tuple[str, str],
    rng: np.random.Generator,
    *,
    alternative: str = "two-sided",
    level: float = LEVEL,
) -> PairedDifference:
    """Both answers for paired `a` and `b` (n,): how large the difference is, and whether it could be chance.

    Raises ValueError as `paired_interval` and `commutator.signed_rank` do.
    """
    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    difference = paired_interval(a, b, rng, level=level)
    return PairedDifference(difference, signed_rank(a, b, names, alternative))
