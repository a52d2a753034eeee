"""HaarPSI: similarity of Haar wavelet coefficients."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import convolve1d, uniform_filter

from .pictures import YIQ, Picture, alike, channels, pair

_C, _ALPHA = 30.0, 4.2


def haarpsi(image: Picture, reference: Picture) -> float:
    """Haar wavelet-based perceptual similarity in [0, 1], 1 for equal pictures.

    Local similarity of the two finest scales, weighted by the third, horizontally and vertically, and of chroma.
    Source: Reisenhofer, Bosse, Kutyniok, Wiegand, "A Haar wavelet-based perceptual similarity index for image quality
    assessment", 2018, with its constants C = 30 and alpha = 4.2 for colour images in [0, 255].
    Agrees with piq 0.8.0 to 1e-4 (tests). Raises ValueError as `pictures.pair` does.
    """
    image, reference = pair(image, reference)
    if np.array_equal(image, reference):
        return 1.0  # the logistic would return 1 up to rounding only
    first, second = _viewed(image), _viewed(reference)
    details = [_haar(x[0]) for x in (first, second)]
    similarities, weights = [], []
    for axis in (0, 1):
        a, b = details[0][axis], details[1][axis]
        weights.append(np.maximum(np.abs(a[2]), np.abs(b[2])))
        local = [alike(np.abs(a[scale]), np.abs(b[scale]), _C) for scale in (0, 1)]
        similarities.append((local[0] + local[1]) / 2)
    chroma = [[_box(x[k]) for k in (1, 2)] for x in (first, second)]
    local = [alike(np.abs(a), np.abs(b), _C) for a, b in zip(*chroma)]
    similarities.append((local[0] + local[1]) / 2)
    weights.append((weights[0] + weights[1]) / 2)
    similarity, weight = np.stack(similarities), np.stack(weights)
    if not weight.any():  # two flat pictures have no structure to weigh by
        weight = np.ones_like(weight)
    mean = float((_logistic(similarity) * weight).sum() / weight.sum())
    return float((np.log(mean / (1 - mean)) / _ALPHA) ** 2) if mean < 1 else 1.0


def _viewed(image: Picture) -> np.ndarray:
    """YIQ in [0, 255] (3, height, width), averaged over 2 x 2 pixels and subsampled (the metric's viewing distance)."""
    return np.stack([_box(plane)[::2, ::2] for plane in channels(255.0 * image, YIQ)])


def _box(plane: np.ndarray) -> np.ndarray:
    return uniform_filter(plane, size=2, mode="constant", origin=-1)


def _haar(plane: np.ndarray) -> list[list[np.ndarray]]:
    """Detail coefficients [axis][scale] of the Haar wavelet at scales 1, 2, 3."""
    out: list[list[np.ndarray]] = [[], []]
    for scale in (1, 2, 3):
        n = 2**scale
        step = np.concatenate([-np.ones(n // 2), np.ones(n // 2)])
        flat = np.ones(n)
        for axis in (0, 1):
            along = convolve1d(plane, step, axis=axis, mode="constant")
            out[axis].append(convolve1d(along, flat, axis=1 - axis, mode="constant") / n)
    return out


def _logistic(x: np.ndarray) -> np.ndarray:
    return 1.0 / (1.0 + np.exp(-_ALPHA * x))
