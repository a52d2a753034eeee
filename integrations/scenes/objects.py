"""Are the objects of a final in its preview, and in the same places? The nearest thing to "the same composition".

Judged by the embedded model's classifier, which is convolutional: its evidence for an object has a place.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from .classifier import SIDE, SceneClassifier, load_classifier

REACH = SIDE // 8  # pixels of 128: how far an object may be from its place, along either side


@torch.no_grad()
def places(classifier: SceneClassifier, picture: np.ndarray) -> dict[int, tuple[int, int]]:
    """The objects that the classifier sees in a picture (H, W, 3) in 0..1: index in `OBJECTS` to (row, column) of its
    strongest evidence, in pixels of 128."""
    image = torch.from_numpy(np.ascontiguousarray(picture, dtype=np.float32)).permute(2, 0, 1)[None] * 2.0 - 1.0
    evidence = classifier.evidence(image)[0]
    cell = SIDE // evidence.shape[-1]
    found = {}
    for index, plane in enumerate(evidence):
        at = int(plane.argmax())
        if plane.flatten()[at] > 0:
            found[index] = (at // plane.shape[1] * cell, at % plane.shape[1] * cell)
    return found


def agreement(a: dict[int, tuple[int, int]], b: dict[int, tuple[int, int]]) -> float:
    """Of the objects in either picture, the share that is in both and at most `REACH` away; 1 where there are none."""
    either = a.keys() | b.keys()
    near = [o for o in a.keys() & b.keys() if max(abs(a[o][0] - b[o][0]), abs(a[o][1] - b[o][1])) <= REACH]
    return len(near) / len(either) if either else 1.0


def composition() -> Callable[[np.ndarray, np.ndarray], float]:
    """A metric of two pictures (H, W, 3) in 0..1, from 0 to 1. FileNotFoundError where the classifier is missing."""
    classifier = load_classifier()
    return lambda image, reference: agreement(places(classifier, image), places(classifier, reference))
