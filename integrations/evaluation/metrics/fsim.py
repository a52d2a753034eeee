"""FSIM: similarity of features, told by phase congruency and gradients.

Phase congruency says where the Fourier components of a picture agree in phase: there a feature is seen, at any
contrast. Kovesi, "Image features from phase congruency", 1999, with the settings of FSIM: log-Gabor filters of four
scales and four orientations in quadrature, energy above a noise threshold over the sum of amplitudes.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import fft
from scipy.ndimage import correlate1d

from .pictures import YIQ, Picture, alike, channels, pair, pooled, viewing_factor

_T_PHASE, _T_GRADIENT, _T_CHROMA, _LAMBDA = 0.85, 160.0, 200.0, 0.03
_SCALES, _ORIENTATIONS = 4, 4
_SHORTEST, _STEP = 6, 2  # wavelength of the finest scale in pixels, and the factor from one scale to the next
_WIDTH = 0.55  # standard deviation of the radial Gaussian over the centre frequency, on a logarithmic axis
_SPREAD = np.pi / _ORIENTATIONS / 1.2  # standard deviation of the angular Gaussian, in radians
_NOISE = 2.0  # standard deviations of the noise's energy above its mean that count as noise
_NOISE_GAIN = 1.7  # the threshold is estimated on single scales and used on their sum: an empirical correction
_TINY = 1e-4


def fsim(image: Picture, reference: Picture) -> float:
    """FSIMc in [0, 1], 1 for equal pictures: similarity of phase congruency, gradient and chroma.

    S = S_phase S_gradient (S_I S_Q)^0.03, averaged with the larger phase congruency of both as weight: it counts where
    a feature is seen in either. Larger pictures are first reduced by whole factors until the shorter side is about 256.
    Source: Zhang, Zhang, Mou, Zhang, "FSIM: a feature similarity index for image quality assessment", 2011.
    Agrees with piq 0.8.0 to 1e-4 (tests). Raises ValueError as `pictures.pair` does, and for a side below 16 pixels.
    """
    image, reference = pair(image, reference)
    if min(image.shape[:2]) < 16:
        raise ValueError(f"FSIM looks for features of 48 pixels wavelength: {image.shape[:2]} is too small")
    factor = viewing_factor(image)
    a, b = (pooled(channels(255.0 * x, YIQ), factor) for x in (image, reference))
    phase_a, phase_b = phase_congruency(a[0]), phase_congruency(b[0])
    similarity = alike(phase_a, phase_b, _T_PHASE) * alike(_gradient(a[0]), _gradient(b[0]), _T_GRADIENT)
    similarity *= np.abs(alike(a[1], b[1], _T_CHROMA) * alike(a[2], b[2], _T_CHROMA)) ** _LAMBDA
    weight = np.maximum(phase_a, phase_b)
    total = float(weight.sum())
    # Two pictures without a feature are compared everywhere alike.
    return float((similarity * weight).sum() / total) if total else float(similarity.mean())


def _gradient(luma: np.ndarray) -> np.ndarray:
    """Magnitude of Scharr's gradient (height, width)."""
    step, across = np.array([1.0, 0.0, -1.0]), np.array([3.0, 10.0, 3.0]) / 16
    parts = []
    for axis in (0, 1):
        along = correlate1d(luma, step, axis=axis, mode="constant")
        parts.append(correlate1d(along, across, axis=1 - axis, mode="constant"))
    return np.hypot(*parts)


@dataclass(frozen=True)
class _Bank:
    """Filters of one size and what the noise estimate needs of them, per orientation."""

    filters: np.ndarray  # (orientations, scales, height, width), in the frequency domain
    finest: np.ndarray  # (orientations,): energy of the finest scale's filter
    squares: np.ndarray  # (orientations,): sum over scales and pixels of the squared impulse responses
    products: np.ndarray  # (orientations,): the same of products of two scales


def phase_congruency(plane: np.ndarray) -> np.ndarray:
    """Phase congruency of one plane (height, width) of values in [0, 255]: (height, width) in [0, 1]."""
    bank = _bank(*plane.shape)
    # One transform, sixteen filters at once: real and imaginary part are the even and the odd response.
    response = fft.ifft2(fft.fft2(plane) * bank.filters)
    even, odd = response.real, response.imag
    amplitude = np.abs(response)
    mean_even, mean_odd = even.sum(axis=1, keepdims=True), odd.sum(axis=1, keepdims=True)
    norm = np.hypot(mean_even, mean_odd) + _TINY
    mean_even, mean_odd = mean_even / norm, mean_odd / norm
    # Sum over scales of cosine minus absolute sine of the deviation from the mean phase, times amplitude.
    energy = (even * mean_even + odd * mean_odd - np.abs(even * mean_odd - odd * mean_even)).sum(axis=1)
    threshold = _threshold(amplitude[:, 0], bank)
    energy = np.maximum(energy - threshold[:, None, None], 0.0)
    return energy.sum(axis=0) / (amplitude.sum(axis=(0, 1)) + _TINY)


def _threshold(finest: np.ndarray, bank: _Bank) -> np.ndarray:
    """The energy that noise alone would have, per orientation, estimated from the finest scale's responses.

    The median of squared amplitudes says the mean where they are noise: such squares are exponentially distributed.
    """
    power = np.median(finest.reshape(_ORIENTATIONS, -1) ** 2, axis=1) / np.log(2) / bank.finest
    energy = 2 * power * bank.squares + 4 * power * bank.products
    tau = np.sqrt(energy / 2)  # of the Rayleigh distribution that the noise's energy follows
    return (tau * np.sqrt(np.pi / 2) + _NOISE * tau * np.sqrt(2 - np.pi / 2)) / _NOISE_GAIN


@lru_cache(maxsize=8)
def _bank(height: int, width: int) -> _Bank:
    down, right = np.meshgrid(_frequencies(height), _frequencies(width), indexing="ij")
    radius = np.hypot(down, right)
    low_pass = 1 / (1 + (radius / 0.45) ** 30)  # as wide as possible, and nothing in the corners
    radius[0, 0] = 1.0  # its logarithm is taken; the mean is set to 0 below
    angle = np.arctan2(-down, right)
    radial = []
    for scale in range(_SCALES):
        centre = 1 / (_SHORTEST * _STEP**scale)
        filter_ = low_pass * np.exp(-(np.log(radius / centre) ** 2) / (2 * np.log(_WIDTH) ** 2))
        filter_[0, 0] = 0.0
        radial.append(filter_)
    angular = []
    for orientation in range(_ORIENTATIONS):
        away = angle - orientation * np.pi / _ORIENTATIONS
        away = np.abs(np.arctan2(np.sin(away), np.cos(away)))
        angular.append(np.exp(-(away**2) / (2 * _SPREAD**2)))
    filters = np.stack(angular)[:, None] * np.stack(radial)[None]
    impulse = fft.ifft2(filters).real * np.sqrt(height * width)
    total = (impulse.sum(axis=1) ** 2).sum(axis=(-2, -1))
    squares = (impulse**2).sum(axis=(1, -2, -1))
    return _Bank(filters, (filters[:, 0] ** 2).sum(axis=(-2, -1)), squares, (total - squares) / 2)


def _frequencies(count: int) -> np.ndarray:
    """Cycles a pixel in the order of the FFT; for odd counts stretched to reach 1/2, as FSIM's authors have it."""
    return fft.ifftshift((np.arange(count) - count // 2) / (count - count % 2))
