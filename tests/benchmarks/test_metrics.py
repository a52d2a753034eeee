"""The metrics of the tables, against values of their authors' formulas and on cases with known answers."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter

from commutant.benchmarks import metrics


def pictures(blur: float) -> tuple[np.ndarray, np.ndarray]:
    """A smooth random picture, and the same blurred and (from blur 2 on) noisy."""
    rng = np.random.default_rng(0)
    for s in (0, 1, 2, 4):
        a = np.clip(gaussian_filter(rng.random((128, 96, 3)), (2, 2, 0)) * 4 - 1.5, 0, 1)
        b = np.clip(gaussian_filter(a, (s, s, 0)) + 0.05 * rng.standard_normal(a.shape) * (s > 1), 0, 1)
        if s == blur:
            return a, b
    raise AssertionError(blur)


# Computed once with piq 0.8.0's haarpsi on the same pictures.
@pytest.mark.parametrize(("blur", "expected"), [(0, 1.0), (1, 0.941119), (2, 0.659956), (4, 0.374924)])
def test_haarpsi_agrees_with_another_implementation(blur: float, expected: float) -> None:
    reference, image = pictures(blur)
    assert metrics.haarpsi(image, reference) == pytest.approx(expected, abs=1e-4)
    assert metrics.haarpsi(reference, image) == pytest.approx(expected, abs=1e-4)


def test_psnr() -> None:
    a = np.zeros((8, 8, 3))
    assert metrics.psnr(a + 0.1, a) == pytest.approx(20.0)
    assert metrics.psnr(a, a) == 60.0


def test_sharpness_sees_blur_and_noise() -> None:
    reference, blurred = pictures(1)
    assert metrics.sharpness(reference, reference) == 1.0
    assert metrics.sharpness(blurred, reference) < 0.8
    noisy = reference + 0.1 * np.random.default_rng(1).standard_normal(reference.shape)
    assert metrics.sharpness(noisy, reference) > 1.5


def test_area_reduction_is_the_mean_of_blocks() -> None:
    values = np.random.default_rng(2).integers(0, 255, (8, 12, 3), dtype=np.uint8)
    reduced = metrics.area_reduced(Image.fromarray(values), (6, 4))
    blocks = values.reshape(4, 2, 6, 2, 3).mean(axis=(1, 3)) / 255
    assert np.abs(reduced - blocks).max() <= 1.01 / 255  # two passes, each rounded to 8 bits
