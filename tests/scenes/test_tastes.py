"""What scores of scenes see: objects that are there, where, how large; the same for previews and finals."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("torch")

from commutant.integrations.evaluation.picking import LinearTastes, picks
from commutant.integrations.scenes.classifier import load_classifier
from commutant.integrations.scenes.compose import Placed, Scene, render, scene_from_seed
from commutant.integrations.scenes.tastes import FEATURES, evidence, exactly, features, reference_features
from commutant.integrations.scenes.vocabulary import OBJECTS


@pytest.fixture(scope="module")
def classifier():
    return load_classifier()


def drawn(scene: Scene, side: int = 128) -> np.ndarray:
    return render(scene, side, side) / 255.0


def alone(word: str, size: float = 0.45, u: float = 0.5, v: float = 0.5) -> Scene:
    return replace(scene_from_seed((78, 0)), objects=(Placed(word, size, u, v),))


def of(name: str) -> int:
    return FEATURES.index(name)


def test_exactly_the_prompted_objects(classifier) -> None:
    scenes = [scene_from_seed((78, i)) for i in range(12)]
    seen = evidence(classifier, [drawn(scene) for scene in scenes])
    right = np.array([exactly(seen[i : i + 1], scene.words)[0] for i, scene in enumerate(scenes)])
    other = np.array([exactly(seen[i : i + 1], scenes[i - 1].words)[0] for i in range(len(scenes))])
    missing = np.array([exactly(seen[i : i + 1], [*s.words, "panda"])[0] for i, s in enumerate(scenes)])
    has_panda = np.array(["panda" in scene.words for scene in scenes])
    assert np.median(right) > -0.5
    assert (right > other + 2).all()
    assert (right > missing)[~has_panda].all()
    with pytest.raises(ValueError, match="no 'unicorn'"):
        exactly(seen, ["unicorn"])


def test_exactly_by_hand() -> None:
    seen = np.full((1, len(OBJECTS), 2, 2), -50.0)
    seen[0, OBJECTS.index("cat"), 1, 0] = 0.0  # probability 1/2 in its strongest cell
    assert exactly(seen, ["cat"]) == pytest.approx(np.log(0.5))
    assert exactly(seen, []) == pytest.approx(np.log(0.5))
    assert exactly(seen, ["cat", "dog"]) == pytest.approx(np.log(0.5) - 50.0)


def test_features_by_hand() -> None:
    seen = np.full((1, len(OBJECTS), 2, 4), -50.0)
    seen[0, OBJECTS.index("cat"), 1, 0] = 50.0
    found = features(seen)[0]
    assert found.shape == (len(FEATURES),)
    expected = {"cat: presence": 1.0, "cat: row": 0.25, "cat: column": -0.375, "cat: size": 1 / 8, "dog: presence": 0.0}
    for name, value in expected.items():
        assert found[of(name)] == pytest.approx(value, abs=1e-9)


def test_features_follow_the_object(classifier) -> None:
    pictures = [drawn(alone("fox", u=u, v=v)) for u, v in ((0.0, 0.5), (1.0, 0.5), (0.5, 0.0), (0.5, 1.0))]
    left, right, top, bottom = features(evidence(classifier, pictures))
    assert left[of("fox: column")] < -0.1 < 0.1 < right[of("fox: column")]
    assert top[of("fox: row")] < -0.1 < 0.1 < bottom[of("fox: row")]
    small, large = features(evidence(classifier, [drawn(alone("fox", size)) for size in (0.29, 0.52)]))
    assert large[of("fox: size")] > 1.2 * small[of("fox: size")]
    assert min(found[of("fox: presence")] for found in (left, right, top, bottom, small, large)) > 0.5
    assert left[of("cat: presence")] < 0.5


def test_the_size_of_the_picture_is_no_matter_of_taste(classifier) -> None:
    """A picture and its reduced self score alike: far less apart than two scenes are."""
    scenes = [scene_from_seed((79, i)) for i in range(24)]
    large, small = (features(evidence(classifier, [drawn(s, side) for s in scenes])) for side in (256, 64))
    tastes = LinearTastes.drawn(50, reference_features(classifier, 96), np.random.default_rng(0))
    found = picks(tastes(small)[:, None], tastes(large)[:, None])
    assert found.tau[0] > 0.8
    assert found.kept[0] > 0.9
    shuffled = picks(tastes(np.roll(small, 1, axis=0))[:, None], tastes(large)[:, None])
    assert abs(shuffled.tau[0]) < 0.3


def test_the_reference_is_the_same_each_time_and_all_of_it_varies(classifier) -> None:
    reference = reference_features(classifier, 64)
    np.testing.assert_array_equal(reference[:8], reference_features(classifier, 8))
    assert (reference.std(axis=0) > 0).all()


def test_what_is_no_picture_is_refused(classifier) -> None:
    with pytest.raises(ValueError, match="lie in"):
        evidence(classifier, [np.full((128, 128, 3), 255.0)])
