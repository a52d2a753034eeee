"""Peak signal-to-noise ratio."""

from __future__ import annotations

import numpy as np

from .pictures import Picture, pair

CAP = 60.0  # dB: pictures this close differ by less than half a step of 8 bits


def psnr(image: Picture, reference: Picture) -> float:
    """-10 log10 of the mean squared difference over pixels and channels, in dB; 60 for (nearly) equal pictures.

    Blind to what a difference looks like: a blurred picture can score higher than a sharp one with a moved edge.
    Raises ValueError as `pictures.pair` does.
    """
    image, reference = pair(image, reference)
    error = float(np.mean((image - reference) ** 2))
    return float(min(CAP, -10.0 * np.log10(max(error, 1e-12))))
