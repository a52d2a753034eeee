"""Pictures as numbers: what every metric takes, checked, and the few conversions that several of them share."""

from __future__ import annotations

from typing import Any

import numpy as np

Picture = np.ndarray  # floats (height, width, 3) in [0, 1], sRGB


def array(image: Any) -> Picture:
    """A PIL image as floats (height, width, 3) in [0, 1]."""
    return np.asarray(image.convert("RGB"), dtype=np.float64) / 255.0


def area_reduced(image: Any, size: tuple[int, int]) -> Picture:
    """A PIL image at (width, height) `size` by area averaging: the reference a preview is compared with."""
    from PIL import Image

    return array(image.resize(size, Image.Resampling.BOX))


def checked(image: Picture) -> Picture:
    """The picture as float64.

    Raises ValueError for another shape than (height, width, 3) and for values outside [0, 1] or not finite: a metric
    would return some number for 8-bit values or a silently broadcast grey picture.
    """
    image = np.asarray(image, dtype=np.float64)
    if image.ndim != 3 or image.shape[-1] != 3:
        raise ValueError(f"a picture is (height, width, 3), got {image.shape}")
    # Written so that nan fails too.
    if not (image.min() >= -1e-6 and image.max() <= 1 + 1e-6):
        raise ValueError(f"a picture's values lie in [0, 1], got {image.min():g} to {image.max():g}")
    return image


def pair(image: Picture, reference: Picture) -> tuple[Picture, Picture]:
    """Both checked. Raises ValueError as `checked` does, and for two sizes."""
    image, reference = checked(image), checked(reference)
    if image.shape != reference.shape:
        raise ValueError(f"pictures of one size are compared, got {image.shape[:2]} and {reference.shape[:2]}")
    return image, reference


def channels(image: Picture, matrix: np.ndarray) -> np.ndarray:
    """Linear combinations of the channels: (height, width, 3) and (k, 3) to (k, height, width)."""
    return np.moveaxis(image @ matrix.T, -1, 0)


# Luma and two chroma axes of NTSC, which FSIMc, GMSD and HaarPSI are defined in, rounded as their authors' code has it.
YIQ = np.array([[0.299, 0.587, 0.114], [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])


def pooled(planes: np.ndarray, factor: int) -> np.ndarray:
    """Means of factor x factor pixels of (..., height, width); an incomplete last row or column is left out."""
    if factor == 1:
        return planes
    height, width = (n // factor for n in planes.shape[-2:])
    cut = planes[..., : height * factor, : width * factor]
    return cut.reshape(*planes.shape[:-2], height, factor, width, factor).mean(axis=(-3, -1))


def viewing_factor(image: Picture) -> int:
    """How far SSIM and FSIM reduce a picture before they look at it: the shorter side is brought to about 256."""
    return max(1, round(min(image.shape[:2]) / 256))


def alike(a: np.ndarray, b: np.ndarray, constant: float) -> np.ndarray:
    """(2ab + c) / (a^2 + b^2 + c): 1 where equal; the form of similarity that SSIM introduced and the others took."""
    return (2 * a * b + constant) / (a**2 + b**2 + constant)
