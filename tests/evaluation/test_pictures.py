"""Pictures as arrays."""

from __future__ import annotations

import numpy as np
import pytest

from commutant.integrations.evaluation import area_reduced, array, phase_congruency

from .pictures import scene


def test_area_reduction_is_the_mean_of_blocks() -> None:
    Image = pytest.importorskip("PIL.Image")
    values = np.random.default_rng(2).integers(0, 255, (8, 12, 3), dtype=np.uint8)
    reduced = area_reduced(Image.fromarray(values), (6, 4))
    blocks = values.reshape(4, 2, 6, 2, 3).mean(axis=(1, 3)) / 255
    assert np.abs(reduced - blocks).max() <= 1.01 / 255  # two passes, each rounded to 8 bits


def test_an_image_of_any_mode_is_an_array() -> None:
    Image = pytest.importorskip("PIL.Image")
    grey = Image.fromarray(np.array([[0, 51], [102, 255]], np.uint8))
    np.testing.assert_allclose(array(grey), np.repeat(np.array([[0, 0.2], [0.4, 1]])[..., None], 3, axis=-1))


def test_phase_congruency_sees_features_and_not_contrast() -> None:
    """At a step it is high whatever the step's height; where there is only noise it is low."""
    plane = np.zeros((64, 256))
    plane[:, 128:] = 1.0
    low, high = phase_congruency(50 * plane + 20), phase_congruency(200 * plane)
    assert low[32, 127:129].min() > 0.7
    assert low[32, 127:129] == pytest.approx(high[32, 127:129], abs=0.01)
    grain = np.random.default_rng(0).normal(0, 3, plane.shape)
    seen = phase_congruency(100 * plane + 60 + grain)
    assert seen[:, 127:129].mean() > 5 * seen[:, 40:88].mean()
    assert np.median(phase_congruency(128 + 5 * grain)) < 0.2
    turned = phase_congruency(255 * scene(64, 64)[..., 0])
    assert 0 <= turned.min() <= turned.max() <= 1
