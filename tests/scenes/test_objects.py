"""The measure of composition, on drawn scenes."""

from itertools import pairwise

import numpy as np
import pytest

pytest.importorskip("torch")

from commutant.integrations.scenes.classifier import agreement, composition
from commutant.integrations.scenes.compose import render, scene_from_seed

BLANK = np.full((128, 128, 3), 0.5)


@pytest.fixture(scope="module")
def scenes():
    return [render(scene_from_seed((77, i)), 128, 128) / 255.0 for i in range(12)]


def test_a_picture_agrees_with_itself_and_with_its_blurred_or_shifted_self(scenes):
    kept = composition()
    for scene in scenes:
        assert kept(scene, scene) == 1.0
    assert np.mean([kept(np.roll(scene, 8, axis=1), scene) for scene in scenes]) > 0.85
    assert np.mean([kept(scene.reshape(64, 2, 64, 2, 3).mean((1, 3)), scene) for scene in scenes]) > 0.85


def test_other_objects_other_places_and_no_objects_count_against(scenes):
    kept = composition()
    assert np.mean([kept(a, b) for a, b in pairwise(scenes)]) < 0.2
    assert np.mean([kept(scene[:, ::-1], scene) for scene in scenes]) < 0.6
    assert np.mean([kept(BLANK, scene) for scene in scenes]) < 0.1
    assert kept(BLANK, BLANK) == 1.0


def test_agreement():
    assert agreement({}, {}) == 1.0
    assert agreement({1: (0, 0)}, {}) == 0.0
    assert agreement({1: (0, 0), 2: (64, 64)}, {1: (16, 16), 2: (64, 96)}) == 0.5
    assert agreement({1: (0, 0)}, {1: (0, 0), 2: (0, 0), 3: (0, 0)}) == pytest.approx(1 / 3)
