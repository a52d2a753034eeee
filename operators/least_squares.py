"""The resize of a latent space by least squares: what maps the latents of pictures to those of the reduced pictures.

With `high = E(picture)` and `low = E(reduced picture)`, the map A of least |A high - low| is the one that commutes best
with the encoder E. It is fitted on what shall pass through it and shrunk towards a plain operator: a free map amplifies
what it never saw.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from .blocks import BlockMean
from .fields import RealNumber, Whole
from .fitted import FittedResize
from .spectral import SpectralCrop

RIDGES = tuple(10.0**n for n in range(-6, 3))
PER_UNKNOWN = 4  # equations for each unknown below which a fit is refused
SLICE = 2**22  # values of the design matrix made at a time: 32 MiB of float64

Pairs: TypeAlias = Iterable[tuple[Any, Any]]


@dataclass(frozen=True)
class FitReport:
    """How well a fitted resize maps pairs that it was not fitted on, beside the plain operators.

    Attributes:
        fitted, mean, crop: |A high - low| / |low| over all held-out pairs, of the fitted map with its bias, of
            `BlockMean(scale)` and of `SpectralCrop.by(scale)`.
        ridge: the one used, in units of the mean square of what the map reads.
        samples: equations fitted, one per low pixel; unknowns: of each channel, cells^2 C + 1.
        pairs: of latents it was fitted on; held_out: of latents it was measured on.
    """

    fitted: float
    mean: float
    crop: float
    ridge: float
    samples: int
    unknowns: int
    pairs: int
    held_out: int

    @property
    def helps(self) -> bool:
        """Whether the fitted map is nearer on held-out pairs than both plain operators."""
        return self.fitted < min(self.mean, self.crop)

    def __str__(self) -> str:
        errors = f"fitted {self.fitted:.1%}, mean {self.mean:.1%}, crop {self.crop:.1%}"
        return f"held-out residual: {errors} ({self.held_out} pairs; {self.samples} samples, ridge {self.ridge:g})"


def fit_resize(
    pairs: Pairs,
    scale: int = 2,
    cells: int = 4,
    *,
    ridge: float | None = None,
    towards: str | FittedResize = "mean",
    held_out: Pairs | None = None,
) -> tuple[FittedResize, FitReport]:
    """The `FittedResize` of least squares from high latents to low ones, shrunk towards a plain operator.

        minimise  mean |W x + bias - low|^2 + ridge P (|W - W_0|^2 + |bias - bias_0|^2),   P = mean x^2

    over the neighbourhoods x of all high latents; W_0 is `towards`. In float64, by normal equations that are summed up
    pair by pair, so that memory does not grow with the pairs, read once.

    Args:
        pairs: batches (high (N, C, H, W), low (N, C, H / scale, W / scale)) of any array library; sizes may differ
            from batch to batch.
        scale: s. cells: k = s, s + 2, s + 4...
        ridge: at least 0; left out, the best of `RIDGES` on every fifth fitting pair, by a fit on the others.
        towards: "mean" (`BlockMean`), "crop" (`SpectralCrop`, cut to the neighbourhood), or a map of this scale, cells
            and channels with its bias.
        held_out: pairs for the report; left out, every fifth of `pairs`, which are not fitted. Crops of one picture
            resemble each other: give pairs of other pictures for an honest figure.

    Raises ValueError: no or too few pairs (an unknown needs PER_UNKNOWN samples), shapes that do not go together,
    values that are not finite, an unknown `towards`, a ridge below 0.

    Source: Tikhonov regularisation; the condition `A E(x) = E(A x)` of the method.
    """
    s, k = Whole(1).take("scale", scale), Whole(1).take("cells", cells)
    if ridge is not None and RealNumber().take("ridge", ridge) < 0:
        raise ValueError(f"ridge must be at least 0, not {ridge}")
    fitting, choosing, judging = _Equations(s, k), _Equations(s, k), _Equations(s, k)
    for i, pair in enumerate(_single(pairs, s, "pairs")):
        if held_out is None and i % 5 == 4:
            judging.add(*pair)
        elif ridge is None and i % 5 == 2:
            choosing.add(*pair)
        else:
            fitting.add(*pair)
    for pair in () if held_out is None else _single(held_out, s, "held_out"):
        judging.add(*pair)
    for part, use in ((fitting, "to fit"), (choosing, "to choose the ridge on"), (judging, "held out")):
        if part.pairs == 0 and not (part is choosing and ridge is not None):
            raise ValueError(f"too few pairs: none left {use}; give at least 5, of pictures that differ")
    samples, wanted = fitting.samples + choosing.samples, PER_UNKNOWN * fitting.unknowns
    if samples < wanted:
        raise ValueError(
            f"too few samples: {samples} low pixels in {fitting.pairs + choosing.pairs} pairs to fit, and "
            f"{fitting.unknowns} unknowns per channel need {wanted}: give more pictures, or fewer cells"
        )
    if judging.channels != fitting.channels:
        raise ValueError(f"pairs have {fitting.channels} channels, held_out {judging.channels}")
    start = _flat(_prior(towards, fitting.channels, s, k))
    if ridge is None:
        tried = {r: choosing.residual(solved) for r, solved in zip(RIDGES, fitting.solved(start, RIDGES))}
        ridge = min(tried, key=lambda r: tried[r])
        fitting.merge(choosing)
    (flat,) = fitting.solved(start, (ridge,))
    fitted = FittedResize(s, flat[:-1].T.reshape(fitting.channels, fitting.channels, k, k), flat[-1])
    mean, crop = (math.sqrt(error / judging.power) for error in judging.plain)
    report = FitReport(
        judging.residual(flat), mean, crop, float(ridge), samples, fitting.unknowns, fitting.pairs, judging.pairs
    )
    return fitted, report


class _Equations:
    """The normal equations of pairs: X^T X, X^T Y and |Y|^2, X with a column of ones; errors of the plain operators."""

    def __init__(self, scale: int, cells: int):
        FittedResize(scale, np.zeros((1, 1, cells, cells)))  # refuses what cannot be centred
        self.scale, self.cells = scale, cells
        self.operators = BlockMean(scale), SpectralCrop.by(scale)
        self.pairs = self.samples = self.channels = self.unknowns = 0
        self.power, self.plain = 0.0, np.zeros(2)
        self.gram = self.cross = np.empty((0, 0))

    def add(self, high: np.ndarray, low: np.ndarray) -> None:
        """One pair, high (C, H, W) and low (C, h, w)."""
        if self.pairs == 0:
            self.channels = len(high)
            self.unknowns = self.cells**2 * self.channels + 1
            self.gram = np.zeros((self.unknowns, self.unknowns))
            self.cross = np.zeros((self.unknowns, self.channels))
        for rows, targets in _slices(high, low, self.scale, self.cells):
            self.gram += rows.T @ rows
            self.cross += rows.T @ targets
        self.pairs += 1
        self.samples += low[0].size
        self.power += float(np.square(low).sum())
        self.plain += [float(np.square(operator(high) - low).sum()) for operator in self.operators]

    def merge(self, other: _Equations) -> None:
        self.gram += other.gram
        self.cross += other.cross
        self.pairs += other.pairs
        self.samples += other.samples

    def solved(self, start: np.ndarray, ridges: Iterable[float]) -> Iterator[np.ndarray]:
        """The minimisers (unknowns, channels) for each ridge; of equally good ones the nearest to `start`."""
        values, vectors = np.linalg.eigh(self.gram)
        values = np.where(values > values[-1] * len(values) * np.finfo(np.float64).eps, values, 0)
        ahead = vectors.T @ (self.cross - self.gram @ start)
        power = float(np.trace(self.gram)) / len(values)  # samples times the mean square of an entry of X
        for ridge in ridges:
            total = values + ridge * power
            weights = np.divide(1, total, out=np.zeros_like(total), where=total > 0)
            yield start + vectors @ (weights[:, None] * ahead)

    def residual(self, flat: np.ndarray) -> float:
        """|X flat - Y| / |Y|, from the sums: exact to about 1e-8."""
        error = self.power - 2 * np.vdot(flat, self.cross) + np.vdot(flat, self.gram @ flat)
        return math.sqrt(max(0.0, float(error)) / self.power)


def _single(pairs: Pairs, scale: int, name: str) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The pairs of all batches in float64, one by one, checked."""
    channels = None
    for n, (given, target) in enumerate(pairs):
        high, low = _read(given, f"{name}[{n}], high"), _read(target, f"{name}[{n}], low")
        wanted = (*high.shape[:2], high.shape[2] // scale, high.shape[3] // scale)
        divides = high.shape[2] % scale == high.shape[3] % scale == 0
        if not divides or low.shape != wanted or high.size == 0:
            raise ValueError(f"{name}[{n}] does not go together at scale {scale}: high {high.shape}, low {low.shape}")
        channels = channels or high.shape[1]
        if high.shape[1] != channels:
            raise ValueError(f"{name}[{n}] has {high.shape[1]} channels, those before it {channels}")
        if not low.any():
            raise ValueError(f"{name}[{n}], low is all zeros: no latent of a picture")
        yield from zip(high, low)


def _read(values: Any, name: str) -> np.ndarray:
    if hasattr(values, "detach"):  # a torch tensor, perhaps narrower than numpy knows
        values = values.detach().cpu().double()
    array = np.asarray(values)
    if array.ndim != 4 or array.dtype.kind != "f":
        raise ValueError(f"{name} must be floats (pairs, channels, height, width), not {array.dtype} {array.shape}")
    if not np.isfinite(array).all():
        raise ValueError(f"{name} holds values that are not finite")
    return array.astype(np.float64)


def _slices(high: np.ndarray, low: np.ndarray, s: int, k: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The neighbourhoods of some rows of low pixels, with a one after each, and these pixels: (n, u) and (n, C)."""
    before = (k - s) // 2
    wide = np.pad(high, ((0, 0), (before, before), (before, before)), mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(wide, (k, k), axis=(1, 2))[:, ::s, ::s]
    channels, height, width = low.shape
    unknowns = channels * k * k + 1
    step = max(1, SLICE // (width * unknowns))
    for top in range(0, height, step):
        part = windows[:, top : top + step].transpose(1, 2, 0, 3, 4).reshape(-1, unknowns - 1)
        rows = np.concatenate([part, np.ones((len(part), 1))], axis=1)
        yield rows, low[:, top : top + step].reshape(channels, -1).T


def _prior(towards: str | FittedResize, channels: int, scale: int, cells: int) -> FittedResize:
    if towards == "mean":
        return FittedResize.of(BlockMean(scale), channels, scale, cells)
    if towards == "crop":
        return FittedResize.of(SpectralCrop.by(scale), channels, scale, cells)
    if not isinstance(towards, FittedResize):
        raise ValueError(f"towards must be 'mean', 'crop' or a FittedResize, not {towards!r:.80}")
    if towards.scale != scale or towards.weights.shape != (channels, channels, cells, cells):
        raise ValueError(f"{towards!r} is not of scale {scale}, {channels} channels and {cells} x {cells} cells")
    return towards


def _flat(operator: FittedResize) -> np.ndarray:
    """Weights and bias as the unknowns of the equations, (cells^2 C + 1, C)."""
    weights = operator.weights.reshape(len(operator.bias), -1).T
    return np.concatenate([weights, operator.bias[None]])
