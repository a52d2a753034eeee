"""SSIM and its multi-scale form: local means, contrasts and correlations compared."""

from __future__ import annotations

from functools import cache

import numpy as np
from scipy.ndimage import correlate1d

from .pictures import Picture, alike, pair, pooled, viewing_factor

_SIDE, _SIGMA = 11, 1.5
_C1, _C2 = 0.01**2, 0.03**2
# Of the five scales, fine to coarse, as calibrated by the authors of MS-SSIM.
_SCALES = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)


def ssim(image: Picture, reference: Picture) -> float:
    """Structural similarity, at most 1 and 1 for equal pictures: the mean over pixels and the three channels.

    Windows are Gaussians of 11 x 11 pixels and 1.5 pixels standard deviation that lie inside the picture; larger
    pictures are first reduced by whole factors until the shorter side is about 256, as in the authors' code.
    Source: Wang, Bovik, Sheikh, Simoncelli, "Image quality assessment: from error visibility to structural similarity",
    2004. Agrees with piq 0.8.0 to 1e-6 (tests).
    Raises ValueError as `pictures.pair` does, and for a side below 11 pixels.
    """
    image, reference = pair(image, reference)
    factor = viewing_factor(image)
    whole, _ = _compared(*(pooled(np.moveaxis(x, -1, 0), factor) for x in (image, reference)))
    return float(whole.mean())


def ms_ssim_scales(height: int, width: int) -> int:
    """How many of the five scales fit: the window of 11 pixels must lie inside the picture halved that many times.

    Five from 161 pixels on, four from 81 on (so at 128), three from 41 on. 0 below 11 pixels.
    """
    side = min(height, width)
    return sum(side >= (_SIDE - 1) * 2**scale + 1 for scale in range(len(_SCALES)))


def ms_ssim(image: Picture, reference: Picture) -> float:
    """Multi-scale structural similarity in [0, 1], 1 for equal pictures; the mean over the three channels.

    The contrast and structure terms of every scale and the luminance term of the coarsest, weighted as the authors
    calibrated them. Where fewer than five scales fit (`ms_ssim_scales`) the weights of those that do are divided by
    their sum: figures of two sizes compare only where their numbers of scales are equal. Anticorrelation counts as 0.
    Source: Wang, Simoncelli, Bovik, "Multi-scale structural similarity for image quality assessment", 2003.
    Agrees with piq 0.8.0 to 1e-6 at five scales, and at four with its weights so divided (tests).
    Raises ValueError as `pictures.pair` does, and for a side below 11 pixels.
    """
    image, reference = pair(image, reference)
    scales = max(1, ms_ssim_scales(*image.shape[:2]))
    weights = np.array(_SCALES[:scales]) / sum(_SCALES[:scales])
    planes = [np.moveaxis(x, -1, 0) for x in (image, reference)]
    product = np.ones(3)
    for scale, weight in enumerate(weights):
        if scale:
            planes = [_halved(x) for x in planes]
        whole, structure = _compared(*planes)
        term = whole if scale == scales - 1 else structure
        product *= np.maximum(term.mean(axis=(-2, -1)), 0.0) ** weight
    return float(product.mean())


def _halved(planes: np.ndarray) -> np.ndarray:
    """Means of 2 x 2 pixels; where a side is odd the first row and column are repeated."""
    odd = max(n % 2 for n in planes.shape[-2:])
    return pooled(np.pad(planes, ((0, 0), (odd, 0), (odd, 0)), mode="edge"), 2)


def _compared(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """SSIM, and its contrast-structure part, of (3, height, width) at every window inside the picture."""
    if min(a.shape[-2:]) < _SIDE:
        raise ValueError(f"SSIM compares windows of {_SIDE} x {_SIDE} pixels: {a.shape[-2:]} is too small")
    mean_a, mean_b, aa, bb, ab = _windowed(np.stack([a, b, a * a, b * b, a * b]))
    structure = (2 * (ab - mean_a * mean_b) + _C2) / (aa - mean_a**2 + bb - mean_b**2 + _C2)
    return alike(mean_a, mean_b, _C1) * structure, structure


def _windowed(planes: np.ndarray) -> np.ndarray:
    weights, reach = _window(), _SIDE // 2
    for axis in (-2, -1):
        planes = correlate1d(planes, weights, axis=axis)
    return planes[..., reach:-reach, reach:-reach]


@cache
def _window() -> np.ndarray:
    at = np.arange(_SIDE) - _SIDE // 2
    weights = np.exp(-(at**2) / (2 * _SIGMA**2))
    return weights / weights.sum()
