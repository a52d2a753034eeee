"""FLIP: the difference that a person sees who alternates between two pictures."""

from __future__ import annotations

from functools import cache

import numpy as np
from scipy.ndimage import correlate1d

from .pictures import Picture, channels, pair

PIXELS_PER_DEGREE = 67.0  # a 0.7 m wide display of 3840 pixels seen from 0.7 m: the authors' default
_QC, _PC, _PT = 0.7, 0.4, 0.95
_QF, _FEATURE_WIDTH = 0.5, 0.082  # the latter in degrees
_RGB_TO_XYZ = np.array(
    [
        [10135552 / 24577794, 8788810 / 24577794, 4435075 / 24577794],
        [2613072 / 12288897, 8788810 / 12288897, 887015 / 12288897],
        [1425312 / 73733382, 8788810 / 73733382, 70074185 / 73733382],
    ]
)
_XYZ_TO_RGB = np.linalg.inv(_RGB_TO_XYZ)
_WHITE = _RGB_TO_XYZ.sum(axis=1)
# Contrast sensitivity of the achromatic, red-green and blue-yellow channel: weights and widths of Gaussians.
_SENSITIVITY = (((1.0, 0.0047),), ((1.0, 0.0053),), ((34.1, 0.04), (13.5, 0.025)))


def flip(image: Picture, reference: Picture) -> float:
    """Mean LDR-FLIP error in [0, 1], 0 for equal pictures.

    Both pictures are blurred as the eye's contrast sensitivity does at 67 pixels a degree, compared in a uniform colour
    space, and the error is raised where edges or points differ: E = E_colour^(1 - E_feature).
    Source: Andersson, Nilsson, Akenine-Moller, Oskarsson, Astrom, Fairchild, "FLIP: a difference evaluator for
    alternating images", 2020. Agrees with flip-evaluator 1.7, which calculates in 32 bits, to 1e-4 (tests).
    Raises ValueError as `pictures.pair` does.
    """
    image, reference = pair(image, reference)
    first, second = (_opponent(_linear(x)) for x in (image, reference))
    colour = _redistributed(_hyab(_perceived(first), _perceived(second)))
    feature = _feature_difference((first[0] + 16) / 116, (second[0] + 16) / 116)
    return float(np.mean(colour ** (1 - feature)))


def _linear(image: Picture) -> np.ndarray:
    """Linear RGB (3, height, width) of sRGB (height, width, 3)."""
    x = np.moveaxis(image.clip(0, 1), -1, 0)
    return np.where(x <= 0.04045, x / 12.92, ((x + 0.055) / 1.055) ** 2.4)


def _xyz(linear: np.ndarray) -> np.ndarray:
    return channels(np.moveaxis(linear, 0, -1), _RGB_TO_XYZ)


def _opponent(linear: np.ndarray) -> np.ndarray:
    """YCxCz, a linear transform of XYZ in which contrast sensitivity is known."""
    x, y, z = _xyz(linear) / _WHITE[:, None, None]
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def _perceived(opponent: np.ndarray) -> np.ndarray:
    """Lab after the eye's blur, chroma scaled by lightness (the Hunt effect)."""
    blurred = []
    for plane, gaussians in zip(opponent, _kernels()):
        parts = [weight * _separable(plane, kernel, kernel) for weight, kernel in gaussians]
        blurred.append(sum(parts))
    y = (blurred[0] + 16) / 116
    xyz = np.stack([y + blurred[1] / 500, y, y - blurred[2] / 200]) * _WHITE[:, None, None]
    return _hunt(_lab(channels(np.moveaxis(xyz, 0, -1), _XYZ_TO_RGB).clip(0, 1)))


def _lab(linear: np.ndarray) -> np.ndarray:
    ratio = _xyz(linear) / _WHITE[:, None, None]
    delta = 6 / 29
    x, y, z = np.where(ratio > delta**3, np.cbrt(ratio), ratio / (3 * delta**2) + 4 / 29)
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def _hunt(lab: np.ndarray) -> np.ndarray:
    return np.stack([lab[0], 0.01 * lab[0] * lab[1], 0.01 * lab[0] * lab[2]])


def _hyab(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """City-block distance in lightness, Euclidean in chroma: the better of both for large differences."""
    return np.abs(a[0] - b[0]) + np.hypot(a[1] - b[1], a[2] - b[2])


def _redistributed(difference: np.ndarray) -> np.ndarray:
    """Colour differences to [0, 1]: those up to 0.4 of the largest possible take 0.95 of the range."""
    largest = _largest()
    error = difference**_QC
    knee = _PC * largest
    return np.where(error < knee, _PT / knee * error, _PT + (error - knee) / (largest - knee) * (1 - _PT))


@cache
def _largest() -> float:
    """The colour error between the primaries green and blue, which no pair of colours exceeds."""
    green, blue = (_hunt(_lab(np.array(c, dtype=float).reshape(3, 1, 1))) for c in ((0, 1, 0), (0, 0, 1)))
    return float(_hyab(green, blue)[0, 0] ** _QC)


def _feature_difference(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """How much edges or points of two achromatic planes differ, (height, width) in [0, 1]."""
    smooth, edge, point = _detectors()
    out = []
    for kernel in (edge, point):
        strength = [np.hypot(_separable(x, smooth, kernel), _separable(x, kernel, smooth)) for x in (a, b)]
        out.append(np.abs(strength[0] - strength[1]))
    return (np.maximum(*out) / np.sqrt(2)) ** _QF


def _separable(plane: np.ndarray, down: np.ndarray, across: np.ndarray) -> np.ndarray:
    along = correlate1d(plane, down, axis=0, mode="nearest")
    return correlate1d(along, across, axis=1, mode="nearest")


@cache
def _kernels() -> tuple[tuple[tuple[float, np.ndarray], ...], ...]:
    """Per channel (weight, kernel along one axis) of each Gaussian; a channel's kernels and weights sum to 1."""
    widest = max(b for gaussians in _SENSITIVITY for _, b in gaussians)
    reach = int(np.ceil(3 * np.sqrt(widest / (2 * np.pi**2)) * PIXELS_PER_DEGREE))
    degrees = np.arange(-reach, reach + 1) / PIXELS_PER_DEGREE
    out = []
    for gaussians in _SENSITIVITY:
        shapes = [np.exp(-(np.pi**2) * degrees**2 / b) for _, b in gaussians]
        masses = [a * np.sqrt(np.pi / b) * shape.sum() ** 2 for (a, b), shape in zip(gaussians, shapes)]
        out.append(tuple((m / sum(masses), shape / shape.sum()) for m, shape in zip(masses, shapes)))
    return tuple(out)


@cache
def _detectors() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A Gaussian and its first and second derivative, whose positive and negative parts each sum to 1 in size."""
    deviation = 0.5 * _FEATURE_WIDTH * PIXELS_PER_DEGREE
    reach = int(np.ceil(3 * deviation))
    at = np.arange(-reach, reach + 1)
    smooth = np.exp(-(at**2) / (2 * deviation**2))

    def balanced(kernel: np.ndarray) -> np.ndarray:
        positive, negative = np.maximum(kernel, 0), np.minimum(kernel, 0)
        return positive / positive.sum() - negative / negative.sum()

    edge, point = balanced(-at * smooth), balanced((at**2 / deviation**2 - 1) * smooth)
    return smooth / smooth.sum(), edge, point
