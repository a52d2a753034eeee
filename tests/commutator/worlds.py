"""What the tests draw from: paths, schedules, operators, noise, and fields that count who asks them what."""

from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import numpy as np
from hypothesis import strategies as st

from commutant.commutator import PATHS, Query, Trajectory, run_head
from commutant.commutator.euler import euler_step
from commutant.operators import BlockMean, SpectralCrop, StridedSelection

from ..operators.laws import relative as relative

SELECTIONS = [op for scale in (2, 3) for op in StridedSelection.family(scale)]
SMOOTH = [BlockMean(2), BlockMean(3), SpectralCrop.by(2), SpectralCrop.by(Fraction(4, 3)), SpectralCrop((5, 7))]
SIDE = 12  # divisible by every scale above

seeds = st.integers(0, 2**32 - 1)
paths = st.sampled_from(sorted(PATHS.values(), key=lambda p: p.name))


def same_bits(a: Any, b: Any) -> bool:
    """Equal shape, dtype and values (numpy arrays or tensors)."""
    a, b = np.asarray(a), np.asarray(b)
    return a.shape == b.shape and a.dtype == b.dtype and bool(np.array_equal(a, b))


def highest(path: Any) -> float:
    """A time of high noise at which the path's output still determines the denoised prediction well."""
    return {"rectified-flow": 1.0, "variance-exploding": 15.0, "variance-preserving": 0.99}[path.name]


def shifted(steps: int, shift: float = 3.0, top: float = 1.0) -> list[float]:
    """A rectified-flow schedule of `steps` steps with the given shift, from `top` to 0."""
    u = [top * (1 - i / steps) for i in range(steps + 1)]
    return [shift * t / (1 + (shift - 1) * t) for t in u]


@st.composite
def schedules(draw: Any, path: Any) -> list[float]:
    """N + 1 decreasing times from the noisy end of `path` (or a little below) to 0, N from 2 to 9."""
    count = draw(st.integers(2, 9))
    top = draw(st.sampled_from([1.0, 0.9])) * highest(path)
    gaps = [draw(st.floats(0.05, 1.0)) for _ in range(count)]
    rest = np.cumsum(gaps[::-1])[::-1] / np.sum(gaps)
    return [float(top), *(float(top * r) for r in rest[1:]), 0.0]


def normal(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape)


def recorded(path: Any, times: list[float], switch: int, noise: Any, answers: Any) -> Trajectory:
    """A head of Euler steps whose model answers with the denoised predictions `answers[i]`, whatever it is asked."""
    conversation = run_head(path, times, Query(noise, times[0]), switch)
    next(conversation)
    x = noise
    for i in range(switch):
        output = path.output(answers[i], x, times[i])
        conversation.send(output)  # -> Advance
        x = euler_step(path, output, x, times[i], times[i + 1])
        try:
            conversation.send(Query(x, times[i + 1]))
        except StopIteration as stop:
            return stop.value
    raise AssertionError("a head of at least one step was expected")


@dataclass
class Counting:
    """A field that notes every question: (height, time)."""

    inner: Any
    asked: list[tuple[int, float]] = field(default_factory=list)

    def denoised(self, x: Any, t: float) -> Any:
        self.asked.append((x.shape[-1], t))
        return self.inner.denoised(x, t)


@dataclass(frozen=True)
class Wavy:
    """A smooth nonlinear field on every size, which commutes with no operator: its answer mixes neighbours."""

    strength: float = 0.7

    def denoised(self, x: Any, t: float) -> Any:
        near = np.roll(x, 1, axis=-1) + np.roll(x, 1, axis=-2)
        return self.strength * np.tanh(x / (1.0 + t)) + 0.2 * np.sin(near) + 0.1


@dataclass(frozen=True)
class TwoSizes:
    """One field at high resolution and another at low: a model trained on both sizes."""

    high: Any
    low: Any
    width: int

    def denoised(self, x: Any, t: float) -> Any:
        return (self.high if x.shape[-1] == self.width else self.low).denoised(x, t)
