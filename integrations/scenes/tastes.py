"""Scores of pictures of scenes: what the classifier sees of the prompt, and of presence, place and size of each object.

For `evaluation.picking`: `exactly` is the evidence for the prompted objects and nothing else; `features` are what a
family of random tastes (`evaluation.picking.LinearTastes`) is linear in, with the variance that they have over drawn
scenes as their unit. Everything is seen at the classifier's 128x128: a preview of that size as it is, a smaller one
enlarged, a final and a preview of full size reduced, so no method is judged at more pixels than another.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from scipy.special import expit

from ..evaluation.metrics.pictures import Picture, checked
from .classifier import SceneClassifier, labels_of
from .compose import render, scene_from_seed
from .vocabulary import OBJECTS

FEATURES = tuple(f"{word}: {what}" for what in ("presence", "row", "column", "size") for word in OBJECTS)
REFERENCE_SCENES = 512
FIRST_REFERENCE = 70_000_000  # seed of the first: beyond every scene that a model was trained or is compared on


@torch.no_grad()
def evidence(classifier: SceneClassifier, pictures: Sequence[Picture]) -> np.ndarray:
    """Logits (pictures, objects, rows, columns) of the classifier's grid, in float64, of pictures of any sizes.

    Raises ValueError for what is no picture (`evaluation.metrics.pictures.checked`).
    """
    found = []
    for picture in pictures:
        image = torch.from_numpy(checked(picture).astype(np.float32)).permute(2, 0, 1)[None]
        found.append(classifier.evidence(image * 2.0 - 1.0)[0])
    return torch.stack(found).double().numpy()


def exactly(seen: np.ndarray, words: Iterable[str]) -> np.ndarray:
    """Log-likelihood (pictures,) in nats that exactly these objects are there, from `evidence`, each object on its own:
    log p(o) summed over the prompted objects and log(1 - p(o)) over all others.

    Raises ValueError for a word that is no object, which the classifier cannot see.
    """
    words = list(words)
    unknown = [word for word in words if word not in OBJECTS]
    if unknown:
        raise ValueError(f"the classifier knows no {unknown[0]!r}; there are {', '.join(OBJECTS)}")
    sign = 2.0 * labels_of(words) - 1.0
    return -np.logaddexp(0.0, -sign * seen.max(axis=(-2, -1))).sum(axis=-1)


def features(seen: np.ndarray) -> np.ndarray:
    """(pictures, len(FEATURES)) from `evidence`, per object:

    - presence: the probability where the evidence is strongest, 0 to 1;
    - row, column: the mean place of the probability, from -1/2 (top, left) to 1/2, times presence: an object that is
      not there has no place, and is no jump for one that fades;
    - size: the mean probability over the grid. The classifier learnt presence, not size: over drawn scenes this
      follows the true area of one and the same object with a correlation of .6, the place with .95.
    """
    probability = expit(seen)
    presence, size = probability.max(axis=(-2, -1)), probability.mean(axis=(-2, -1))
    share = probability / probability.sum(axis=(-2, -1), keepdims=True)
    row, column = (
        (share.sum(axis=other) * ((np.arange(count) + 0.5) / count - 0.5)).sum(axis=-1)
        for other, count in ((-1, seen.shape[-2]), (-2, seen.shape[-1]))
    )
    return np.concatenate([presence, presence * row, presence * column, size], axis=-1)


def reference_features(classifier: SceneClassifier, count: int = REFERENCE_SCENES) -> np.ndarray:
    """Features (count, len(FEATURES)) of drawn scenes: always the same ones."""
    drawn = (render(scene_from_seed(FIRST_REFERENCE + i), 128, 128) / 255.0 for i in range(count))
    return np.concatenate([features(evidence(classifier, [picture])) for picture in drawn])
