"""Pictures that the tests of the metrics are run on: built from a formula, the same on every machine."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter


def scene(height: int = 128, width: int = 128) -> np.ndarray:
    """A soft background with hard discs, a grid and a little texture: (height, width, 3) in [0, 1]."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:height, :width] / min(height, width)
    out = gaussian_filter(rng.random((height, width, 3)), (12, 12, 0)) * 3 - 1
    for i, colour in enumerate([(0.9, 0.2, 0.1), (0.1, 0.5, 0.9), (0.95, 0.9, 0.3), (0.2, 0.7, 0.3)]):
        centre = (0.25 + 0.5 * (i % 2), 0.3 + 0.4 * (i // 2))
        out[np.hypot(y - centre[0], x - centre[1]) < 0.08 + 0.04 * i] = colour
    out[(y > 0.85) & ((x * 16).astype(int) % 2 == 0)] = 0.05
    out += 0.02 * gaussian_filter(rng.standard_normal(out.shape), (1, 1, 0))
    return out.clip(0, 1)


def blurred(image: np.ndarray, pixels: float) -> np.ndarray:
    return gaussian_filter(image, (pixels, pixels, 0))


def noisy(image: np.ndarray, deviation: float) -> np.ndarray:
    """The same noise for every strength."""
    return (image + deviation * np.random.default_rng(1).standard_normal(image.shape)).clip(0, 1)


def eight_bits(image: np.ndarray) -> np.ndarray:
    """Rounded to what a picture file holds, still as floats."""
    return np.round(image * 255) / 255


# Name, reference and picture of the cases that other implementations were run on.
def cases() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Reference and picture by name; sides even and odd, from three scales of MS-SSIM to five."""
    square, odd, large, small = (eight_bits(scene(*size)) for size in ((128, 128), (97, 131), (176, 192), (64, 48)))
    changed = {
        "blurred 1": (square, blurred(square, 1)),
        "blurred 4": (square, blurred(square, 4)),
        "noisy": (square, noisy(square, 0.08)),
        "shifted": (square, np.roll(square, (2, 3), (0, 1))),
        "darker": (square, 0.7 * square),
        "odd sides": (odd, noisy(blurred(odd, 1.5), 0.03)),
        "large": (large, noisy(blurred(large, 2), 0.02)),
        "small": (small, noisy(blurred(small, 1), 0.05)),
    }
    return {name: (reference, eight_bits(image)) for name, (reference, image) in changed.items()}
