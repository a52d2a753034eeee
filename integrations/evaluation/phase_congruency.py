"""Phase congruency: where the Fourier components of a picture agree in phase, a feature is seen, at any contrast.

Kovesi, "Image features from phase congruency", 1999, with the settings of FSIM: log-Gabor filters of four scales and
four orientations in quadrature, energy above a noise threshold over the sum of amplitudes.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import fft

_SCALES, _ORIENTATIONS = 4, 4
_SHORTEST, _STEP = 6, 2  # wavelength of the finest scale in pixels, and the factor from one scale to the next
_WIDTH = 0.55  # standard deviation of the radial Gaussian over the centre frequency, on a logarithmic axis
_SPREAD = np.pi / _ORIENTATIONS / 1.2  # standard deviation of the angular Gaussian, in radians
_NOISE = 2.0  # standard deviations of the noise's energy above its mean that count as noise
_NOISE_GAIN = 1.7  # the threshold is estimated on single scales and used on their sum: an empirical correction
_TINY = 1e-4


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
