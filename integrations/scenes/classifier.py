"""A small multi-label classifier of the objects in a scene, trained on drawn scenes only, to judge generated ones.

Every image is brought to 128x128 first, so one classifier serves all sizes. It is convolutional, so that its evidence
for an object has a place: are the objects of a final in its preview, and in the same places? That is `composition`,
the nearest thing to "the same composition".
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from . import WEIGHTS
from .vocabulary import OBJECTS

SIDE = 128
FOLDER = WEIGHTS / "classifier"
REACH = SIDE // 8  # pixels of 128: how far an object may be from its place, along either side


def _stage(narrow: int, wide: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(narrow, wide, 3, padding=1, bias=False), nn.BatchNorm2d(wide), nn.ReLU(),
        nn.Conv2d(wide, wide, 3, padding=1, bias=False), nn.BatchNorm2d(wide), nn.ReLU(), nn.MaxPool2d(2),
    )  # fmt: skip


class SceneClassifier(nn.Module):
    """RGB [B, 3, H, W] in -1..1 to object logits [B, len(OBJECTS)], in the order of `OBJECTS`."""

    def __init__(self, width: int = 32):
        super().__init__()
        self.features = nn.Sequential(
            nn.PixelUnshuffle(2), _stage(12, width), _stage(width, 2 * width), _stage(2 * width, 4 * width)
        )
        self.head = nn.Conv2d(4 * width, len(OBJECTS), 3, padding=1)

    def evidence(self, images: Tensor) -> Tensor:
        """Resize to 128x128 and look everywhere: logits [B, len(OBJECTS), 8, 8]."""
        if images.shape[-2:] != (SIDE, SIDE):
            images = F.interpolate(images, (SIDE, SIDE), mode="bilinear", antialias=True)
        return self.head(self.features(images))

    def forward(self, images: Tensor) -> Tensor:
        """The strongest evidence of each object."""
        return self.evidence(images).flatten(2).amax(dim=2)


def load_classifier(folder: Path = FOLDER) -> SceneClassifier:
    """Return the trained classifier in evaluation mode; raises FileNotFoundError if its weights are not installed."""
    model = SceneClassifier()
    model.load_state_dict(load_file(str(folder / "model.safetensors")))
    return model.eval()


def labels_of(words: list[str]) -> np.ndarray:
    """Multi-hot float32 [len(OBJECTS)] of object words."""
    return np.array([word in words for word in OBJECTS], dtype=np.float32)


@torch.no_grad()
def found(classifier: SceneClassifier, images: np.ndarray) -> Tensor:
    """Boolean [B, objects]: what the classifier sees in uint8 images [B, H, W, 3]."""
    return classifier(torch.from_numpy(images).permute(0, 3, 1, 2).float().div(127.5).sub(1.0)) > 0


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
