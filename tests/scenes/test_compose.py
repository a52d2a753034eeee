"""The composer: the same seed gives the same scene, and prompt, boxes and pixels agree."""

import numpy as np
import pytest

from commutant.integrations.scenes.compose import render, scene_from_seed
from commutant.integrations.scenes.vocabulary import BACKGROUNDS, MAX_OBJECTS, OBJECTS, enumerate_objects, unknown_words

SEEDS = range(40)


def test_same_seed_same_scene_and_pixels() -> None:
    first, second = scene_from_seed((7, 3)), scene_from_seed((7, 3))
    assert first.prompt == second.prompt
    np.testing.assert_array_equal(render(first, 128, 128), render(second, 128, 128))
    assert any(scene_from_seed(seed).prompt != first.prompt for seed in SEEDS)


@pytest.mark.parametrize("seed", SEEDS)
def test_prompt_names_what_is_drawn(seed: int) -> None:
    scene = scene_from_seed(seed)
    words = scene.prompt.replace(",", "").split()
    assert [word for word in words if word in OBJECTS] == scene.words
    assert [word for word in words if word in BACKGROUNDS] == [scene.background]
    assert 1 <= len(scene.words) == len(set(scene.words)) <= MAX_OBJECTS
    assert unknown_words(scene.prompt) == []


@pytest.mark.parametrize(("height", "width"), [(256, 256), (128, 128), (256, 192), (96, 128)])
def test_only_the_boxes_differ_from_the_background(height: int, width: int) -> None:
    for seed in SEEDS[:10]:
        scene = scene_from_seed(seed)
        image = render(scene, height, width)
        assert image.shape == (height, width, 3)
        assert image.dtype == np.uint8
        outside = np.ones((height, width), dtype=bool)
        for placed in scene.objects:
            left, top, right, bottom = placed.box(height, width)
            assert left >= 0
            assert top >= 0
            assert right <= width + 1e-9
            assert bottom <= height + 1e-9
            region = (slice(int(top), int(np.ceil(bottom)) + 1), slice(int(left), int(np.ceil(right)) + 1))
            assert image[region].reshape(-1, 3).astype(float).std(axis=0).max() > 5  # something is drawn there
            outside[max(int(top) - 2, 0) : int(bottom) + 3, max(int(left) - 2, 0) : int(right) + 3] = False
        rows = image.astype(int) * outside[..., None]
        for row, free in zip(rows, outside):
            assert not free.any() or np.ptp(row[free], axis=0).max() == 0


@pytest.mark.parametrize("seed", SEEDS[:12])
def test_half_size_is_the_same_scene(seed: int) -> None:
    scene = scene_from_seed(seed)
    large, small = render(scene, 256, 256).astype(float), render(scene, 128, 128).astype(float)
    mean = large.reshape(128, 2, 128, 2, 3).mean(axis=(1, 3))
    other = render(scene_from_seed(seed + 1000), 128, 128).astype(float)
    assert np.abs(mean - small).mean() < 1.5
    assert np.abs(mean - other).mean() > 8 * np.abs(mean - small).mean()


def test_articles_and_lists() -> None:
    assert enumerate_objects(["apple"]) == "an apple"
    assert enumerate_objects(["cat", "dog", "car"]) == "a cat, a dog and a car"
    with pytest.raises(ValueError, match="at least one"):
        enumerate_objects([])


def test_unknown_words_are_named_once_in_order() -> None:
    assert unknown_words("A zebra, a fox and a Zebra on a wooden night background") == ["zebra", "wooden"]


def test_global_generator_is_not_used() -> None:
    state = np.random.get_state()  # noqa: NPY002
    render(scene_from_seed(3), 64, 64)
    after = np.random.get_state()  # noqa: NPY002
    assert state[0] == after[0]
    np.testing.assert_array_equal(state[1], after[1])
    assert state[2:] == after[2:]
