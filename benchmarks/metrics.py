"""How like two images are, and how sharp one is. All take float arrays (height, width, 3) with values in [0, 1]."""

from __future__ import annotations

import numpy as np
from PIL import Image
from scipy.ndimage import convolve1d, uniform_filter

Picture = np.ndarray


def array(image: Image.Image) -> Picture:
    """A PIL image as floats in [0, 1]."""
    return np.asarray(image.convert("RGB"), dtype=np.float64) / 255.0


def area_reduced(image: Image.Image, size: tuple[int, int]) -> Picture:
    """The image at (width, height) `size` by area averaging: the reference a preview is compared with."""
    return array(image.resize(size, Image.Resampling.BOX))


def psnr(image: Picture, reference: Picture) -> float:
    """Peak signal-to-noise ratio in dB, capped at 60 for (nearly) equal images."""
    error = float(np.mean((image - reference) ** 2))
    return float(min(60.0, -10.0 * np.log10(max(error, 1e-12))))


def sharpness(image: Picture, reference: Picture) -> float:
    """Gradient energy of the image over that of the reference: below 1 is blurrier, above 1 busier."""

    def energy(x: Picture) -> float:
        grey = x.mean(axis=-1)
        return float(np.mean(np.diff(grey, axis=0) ** 2) + np.mean(np.diff(grey, axis=1) ** 2))

    return energy(image) / max(energy(reference), 1e-12)


def haarpsi(image: Picture, reference: Picture) -> float:
    """Haar wavelet-based perceptual similarity in [0, 1], 1 for equal images.

    Reisenhofer, Bosse, Kutyniok, Wiegand, "A Haar wavelet-based perceptual similarity index for image quality
    assessment", 2018, with its constants C = 30 and alpha = 4.2 for colour images in [0, 255].
    """
    c, alpha = 30.0, 4.2
    first, second = _yiq(image), _yiq(reference)
    details = [_haar(x[..., 0]) for x in (first, second)]
    similarities, weights = [], []
    for axis in (0, 1):
        a, b = details[0][axis], details[1][axis]
        weights.append(np.maximum(np.abs(a[2]), np.abs(b[2])))
        local = [_alike(np.abs(a[scale]), np.abs(b[scale]), c) for scale in (0, 1)]
        similarities.append(sum(local) / 2)
    chroma = [[_box(x[..., k]) for k in (1, 2)] for x in (first, second)]
    similarities.append(sum(_alike(np.abs(a), np.abs(b), c) for a, b in zip(*chroma)) / 2)
    weights.append((weights[0] + weights[1]) / 2)
    total = sum(float(np.sum(_logistic(s, alpha) * w)) for s, w in zip(similarities, weights))
    mean = total / max(sum(float(np.sum(w)) for w in weights), 1e-12)
    return float((np.log(mean / (1 - mean)) / alpha) ** 2) if mean < 1 else 1.0


def _yiq(image: Picture) -> Picture:
    """YIQ in [0, 255], averaged over 2 x 2 pixels and subsampled (the metric's viewing distance)."""
    matrix = np.array([[0.299, 0.587, 0.114], [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])
    return np.stack([_box(channel)[::2, ::2] for channel in np.moveaxis(255.0 * image @ matrix.T, -1, 0)], axis=-1)


def _box(channel: np.ndarray) -> np.ndarray:
    return uniform_filter(channel, size=2, mode="constant", origin=-1)


def _haar(channel: np.ndarray) -> list[list[np.ndarray]]:
    """Detail coefficients [axis][scale] of the Haar wavelet at scales 1, 2, 3."""
    out: list[list[np.ndarray]] = [[], []]
    for scale in (1, 2, 3):
        n = 2**scale
        step = np.concatenate([-np.ones(n // 2), np.ones(n // 2)])
        flat = np.ones(n)
        for axis in (0, 1):
            along = convolve1d(channel, step, axis=axis, mode="constant")
            out[axis].append(convolve1d(along, flat, axis=1 - axis, mode="constant") / n)
    return out


def _alike(a: np.ndarray, b: np.ndarray, c: float) -> np.ndarray:
    return (2 * a * b + c) / (a**2 + b**2 + c)


def _logistic(x: np.ndarray, alpha: float) -> np.ndarray:
    return 1.0 / (1.0 + np.exp(-alpha * x))
