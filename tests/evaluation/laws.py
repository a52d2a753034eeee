"""What every metric must do. Each law returns whether it holds, so that a test can show that it fails."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from commutant.integrations.evaluation import Metric

Distort = Callable[[np.ndarray, float], np.ndarray]


def equal_pictures_are_best(metric: Metric, image: np.ndarray, others: Sequence[np.ndarray]) -> bool:
    """The reference itself is better than any other picture."""
    best = metric.merit(metric(image, image))
    return all(metric.merit(metric(other, image)) < best for other in others)


def falls(metric: Metric, image: np.ndarray, distort: Distort, strengths: Sequence[float]) -> bool:
    """The stronger the distortion, the worse the value, each time."""
    merits = metric.merit(np.array([metric(distort(image, s), image) for s in strengths]))
    return bool(np.all(np.diff(merits) < 0))


def symmetric(metric: Metric, a: np.ndarray, b: np.ndarray) -> bool:
    """Picture and reference may change places."""
    return bool(abs(metric(a, b) - metric(b, a)) < 1e-9)
