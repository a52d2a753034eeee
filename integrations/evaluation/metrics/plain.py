"""Two numbers without a model of the eye: the peak signal-to-noise ratio, and how much fine change a picture has."""

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


def sharpness(image: Picture, reference: Picture) -> float:
    """Gradient energy of the picture over that of the reference: below 1 is blurrier, above 1 busier.

    Energy is the mean squared difference of neighbouring pixels of the channels' mean, along both axes. It does not say
    whether the detail is the right one. Raises ValueError as `pictures.pair` does.
    """
    image, reference = pair(image, reference)
    return _energy(image) / max(_energy(reference), 1e-12)


def _energy(image: Picture) -> float:
    grey = image.mean(axis=-1)
    return float(np.mean(np.diff(grey, axis=0) ** 2) + np.mean(np.diff(grey, axis=1) ** 2))
