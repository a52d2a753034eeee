"""The pick: how good is the seed that previews choose, measured on the finals that nobody would have made.

Previews are for choosing one seed of K. `picks` says, for groups of K seeds of one prompt and one score (or a family of
them, tastes) of previews and of finals, how well the previews' order agrees with the finals' and what the choice is
worth. `ladder` is the choice in several rungs: cheap previews of all, better ones of those that were kept. `spend` is
what either costs. A score is any number of a picture that is higher for a better one.

Scores have the shape (groups, K) or (tastes, groups, K). What is averaged over tastes is one value a group, and groups
are what the intervals resample: K seeds of a prompt are not independent, prompts are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from .metrics.pictures import Picture
from .statistics import Interval, PairedDifference, compare, mean_interval

Scorer = Callable[[Picture], float]
Measure = Literal["tau", "regret", "kept"]
MEASURES: tuple[Measure, ...] = ("tau", "regret", "kept")


@dataclass(frozen=True)
class Picks:
    """What a choice by previews comes to: (groups,) each, means over the tastes.

    Attributes:
        tau: Kendall's tau-b between the scores of previews and finals; 0 where all previews score the same.
        regret: score of the best final minus that of the picked one's final, over the standard deviation of the
            group's finals. Where several previews are best, any of them is picked: the mean over these.
        kept: share of the gain that choosing among the finals themselves has over choosing blindly,
            (picked - mean) / (best - mean): 1 for the best final, 0 on average for a blind choice, negative below.

    A taste to which all finals of a group are the same says nothing there and is left out of its means; a group about
    which no taste says anything is NaN, and left out of intervals and comparisons. That depends on the finals alone, so
    methods that are compared on the same finals leave out the same groups.
    """

    tau: np.ndarray
    regret: np.ndarray
    kept: np.ndarray

    @property
    def decided(self) -> np.ndarray:
        """Booleans (groups,): where the finals differ."""
        return np.isfinite(self.regret)

    def interval(self, measure: Measure, rng: np.random.Generator) -> Interval:
        """Mean over groups and its bootstrap interval. ValueError where no group's finals differ."""
        return mean_interval(getattr(self, measure)[self.decided], rng)

    def against(
        self, other: Picks, measure: Measure, names: tuple[str, str], rng: np.random.Generator
    ) -> PairedDifference:
        """This minus `other`, group by group: bootstrap interval and signed-rank test.

        Raises ValueError for choices among other finals, as far as they show, and where no group's finals differ.
        """
        if self.decided.shape != other.decided.shape or (self.decided != other.decided).any():
            raise ValueError(f"{names[0]} and {names[1]} do not choose among the same finals")
        return compare(getattr(self, measure)[self.decided], getattr(other, measure)[self.decided], names, rng)


def picks(previews: np.ndarray, finals: np.ndarray) -> Picks:
    """How good the choice by `previews` is, both (groups, K) or (tastes, groups, K), K at least 2.

    Raises ValueError for other or different shapes, and for scores that are not finite.
    """
    previews, finals = _scores(previews), _scores(finals)
    if previews.shape != finals.shape:
        raise ValueError(f"scores of the same seeds are needed, got shapes {previews.shape} and {finals.shape}")
    best, mean, spread = finals.max(axis=-1), finals.mean(axis=-1), finals.std(axis=-1)
    differ = best > finals.min(axis=-1)
    chosen = previews == previews.max(axis=-1, keepdims=True)
    picked = (finals * chosen).sum(axis=-1) / chosen.sum(axis=-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        regret = np.where(differ, (best - picked) / spread, np.nan)
        kept = np.where(differ, (picked - mean) / (best - mean), np.nan)
    tau = np.stack([kendall_tau(p, f) for p, f in zip(previews, finals)])
    tau = np.where(differ & np.isnan(tau), 0.0, tau)
    return Picks(*(_mean_over_tastes(values, differ) for values in (tau, regret, kept)))


def kendall_tau(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Kendall's tau-b between `a` and `b` (..., K) along the last axis; NaN where either is constant.

    tau_b = sum sign(a_i - a_j) sign(b_i - b_j) / sqrt(sum sign(a_i - a_j)^2 sum sign(b_i - b_j)^2), which is
    `scipy.stats.kendalltau` without its p-value, for many tastes at once. Source: Kendall 1945.
    """
    x, y = (np.sign(v[..., :, None] - v[..., None, :]) for v in (np.asarray(a, float), np.asarray(b, float)))
    concordance, ties = (x * y).sum(axis=(-2, -1)), (x * x).sum(axis=(-2, -1)) * (y * y).sum(axis=(-2, -1))
    with np.errstate(invalid="ignore"):
        return concordance / np.sqrt(ties)


def ladder(rungs: Sequence[np.ndarray], kept: Sequence[int]) -> np.ndarray:
    """The order that a choice in several rungs gives, as scores for `picks`.

    `rungs[0]` scores all seeds; the `kept[0]` best of them are scored again by `rungs[1]`, and so on. A seed that was
    kept longer is above all that were not; among equals the last rung's scores decide. Seeds that tie at the border are
    kept in the order of their places.

    Args:
        rungs: (groups, K) or (tastes, groups, K) each; NaN where a later rung did not score a seed.
        kept: how many go on, one number fewer than rungs, falling.

    Raises ValueError for numbers that do not fit, and where a seed that was kept has no score.
    """
    if len(kept) != len(rungs) - 1:
        raise ValueError(f"{len(rungs)} rungs need {len(rungs) - 1} numbers of seeds to keep, got {len(kept)}")
    from scipy.stats import rankdata  # slow to import

    ranks = rankdata(_scores(rungs[0]), axis=-1)
    shape, seeds = np.asarray(rungs[0]).shape, ranks.shape[-1]
    if any(not 1 <= after < before for before, after in zip((seeds, *kept), kept)):
        raise ValueError(f"each rung keeps fewer than the one before, of {seeds} seeds; got {tuple(kept)}")
    for number, (rung, count) in enumerate(zip(rungs[1:], kept), 1):
        again = np.asarray(rung, dtype=np.float64)
        if again.shape != shape:
            raise ValueError(f"rung {number} has shape {again.shape}, the first has {shape}")
        again = again.reshape(ranks.shape)
        best = np.argsort(-ranks, axis=-1, kind="stable")[..., :count]
        if not np.isfinite(np.take_along_axis(again, best, axis=-1)).all():
            raise ValueError(f"rung {number} has no finite score of a seed that was kept")
        order = rankdata(np.where(np.isfinite(again), again, -np.inf), axis=-1)
        above = number * seeds + np.take_along_axis(order, best, axis=-1)
        np.put_along_axis(ranks, best, above, axis=-1)
    return ranks.reshape(shape)


@dataclass(frozen=True)
class Rung:
    """How the seeds of one rung are previewed, in full runs of the final.

    Attributes:
        cost: of one preview, made from nothing.
        recorded: the share of the final's own run that it evaluates and leaves on tape: what a later rung or the finish
            continues. 0 for plain fewer steps, whose schedule is its own.
    """

    cost: float
    recorded: float

    def __post_init__(self) -> None:
        if not (self.cost >= 0 and 0 <= self.recorded <= 1):
            raise ValueError(f"a cost is not negative and a share between 0 and 1, got {self}")


def spend(rungs: Sequence[Rung], seeds: Sequence[int]) -> float:
    """Full runs of the final for the previews of all rungs and the finish of the picked seed.

    `seeds` are those of each rung. What is on the tape of an earlier rung is not evaluated again:
    sum_i seeds_i (cost_i - min(recorded_i, longest tape so far)) + 1 - longest tape of all. Raises ValueError for
    different counts.
    """
    if not rungs or len(rungs) != len(seeds):
        raise ValueError(f"a number of seeds for each of {len(rungs)} rungs is needed, got {len(seeds)}")
    total, tape = 0.0, 0.0
    for rung, count in zip(rungs, seeds):
        total += count * (rung.cost - min(rung.recorded, tape))
        tape = max(tape, rung.recorded)
    return total + 1.0 - tape


@dataclass(frozen=True)
class LinearTastes:
    """A family of tastes, each linear in features of a picture: `features @ weights.T`, weights (tastes, features)."""

    weights: np.ndarray

    @classmethod
    def drawn(cls, count: int, reference: np.ndarray, rng: np.random.Generator) -> LinearTastes:
        """`count` tastes with standard normal weights on features of unit variance over `reference` (n, features).

        Only differences of scores count, so features keep their mean. Raises ValueError for a feature that does not
        vary over the reference, whose unit is unknown, and for no tastes.
        """
        scale = np.asarray(reference, dtype=np.float64).std(axis=0)
        if count < 1 or scale.ndim != 1:
            raise ValueError(f"tastes and features (n, features) are needed, got {count}, {np.shape(reference)}")
        if not (np.isfinite(scale) & (scale > 0)).all():
            raise ValueError(f"{int((~(scale > 0)).sum())} of {len(scale)} features do not vary over the reference")
        return cls(rng.standard_normal((count, len(scale))) / scale)

    def __call__(self, features: np.ndarray) -> np.ndarray:
        """Scores (tastes, ...) of features (..., features)."""
        return np.moveaxis(np.asarray(features, dtype=np.float64) @ self.weights.T, -1, 0)


def scored(groups: Sequence[Sequence[Picture]], scorers: Sequence[Scorer]) -> np.ndarray:
    """Scores (groups, K) of pictures, each group by its own scorer (one that knows its prompt, for example).

    Raises ValueError for groups of different sizes, another number of scorers, or a score that is not finite.
    """
    if len(groups) != len(scorers) or len({len(group) for group in groups}) != 1:
        raise ValueError("groups of the same number of pictures and a scorer for each are needed")
    found = np.array([[scorer(picture) for picture in group] for group, scorer in zip(groups, scorers)], dtype=float)
    if not np.isfinite(found).all():
        at = tuple(int(i) for i in np.argwhere(~np.isfinite(found))[0])
        raise ValueError(f"the score of picture {at[1]} of group {at[0]} is {found[at]}")
    return found


def _scores(values: np.ndarray) -> np.ndarray:
    """As (tastes, groups, K)."""
    out = np.asarray(values, dtype=np.float64)
    out = out[None] if out.ndim == 2 else out
    if out.ndim != 3 or 0 in out.shape or out.shape[-1] < 2:
        raise ValueError(f"scores (groups, K) or (tastes, groups, K) of K > 1 seeds are needed, got {np.shape(values)}")
    if not np.isfinite(out).all():
        raise ValueError(f"{int((~np.isfinite(out)).sum())} of {out.size} scores are not finite")
    return out


def _mean_over_tastes(values: np.ndarray, differ: np.ndarray) -> np.ndarray:
    """Means (groups,) of (tastes, groups) where `differ`; NaN where no taste does."""
    counts = differ.sum(axis=0)
    with np.errstate(invalid="ignore"):
        return np.where(differ, values, 0.0).sum(axis=0) / np.where(counts, counts, np.nan)
