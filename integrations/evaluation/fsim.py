"""FSIM: similarity of features, told by phase congruency and gradients."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import correlate1d

from .phase_congruency import phase_congruency
from .pictures import YIQ, Picture, alike, channels, pair, pooled, viewing_factor

_T_PHASE, _T_GRADIENT, _T_CHROMA, _LAMBDA = 0.85, 160.0, 200.0, 0.03


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
