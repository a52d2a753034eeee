"""How much fine change a picture has, compared with another: what tells a blurred preview from a good one."""

from __future__ import annotations

import numpy as np

from .pictures import Picture, pair


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
