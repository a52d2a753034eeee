"""Compose training scenes: a seed becomes a scene, a scene becomes a prompt, boxes and an RGB image at any size.

A scene is kept in relative coordinates, so that the same scene can be drawn at 256x256, at 128x128 and at 256x192.
Objects are sized by the shorter side and placed by the free room that they leave, which keeps them inside the image
(and apart from each other) at every aspect ratio.
"""

import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image

from .vocabulary import BACKGROUNDS, MAX_OBJECTS, OBJECTS, TEMPLATES, enumerate_objects

SPRITES = Path(__file__).parent / "sprites"

_COUNT_ODDS = (0.25, 0.5, 0.25)
_SIZE_RANGE = ((0.40, 0.52), (0.35, 0.45), (0.29, 0.35))
_TEMPLATE_ODDS = (0.7, 0.1, 0.1, 0.1)
_MARGIN = 0.25  # transparent border of the cached sprites (share of their side): a source box may leave the sprite


@dataclass(frozen=True)
class Placed:
    """One object: its word, its longest side as a share of the image's shorter side, and its place in the free room."""

    word: str
    size: float
    u: float
    v: float

    def box(self, height: int, width: int) -> tuple[float, float, float, float]:
        """Return (left, top, right, bottom) in pixels of an image of `height` x `width`; fractions are meant."""
        side = self.size * min(height, width)
        left, top = self.u * (width - side), self.v * (height - side)
        return left, top, left + side, top + side


@dataclass(frozen=True)
class Scene:
    """What a scene shows. `sky` and `ground` are two colours [2, 3] in 0..255; `horizon` is a share of the height."""

    objects: tuple[Placed, ...]
    background: str
    horizon: float
    sky: np.ndarray
    ground: np.ndarray
    template: int

    @property
    def words(self) -> list[str]:
        """The object words, in the order in which the prompt names them."""
        return [placed.word for placed in self.objects]

    @property
    def prompt(self) -> str:
        """The text of the scene, for example "a fox and a balloon on a night background"."""
        form = TEMPLATES[self.template]
        return form.format(objects=enumerate_objects(self.words), background=self.background)


def scene_from_seed(seed: int | tuple[int, ...]) -> Scene:
    """Draw the scene of `seed` (an int, or a tuple of ints such as (stream, index)): the same seed, the same scene."""
    rng = np.random.default_rng(seed)
    count = 1 + int(rng.choice(MAX_OBJECTS, p=_COUNT_ODDS))
    words = [OBJECTS[i] for i in rng.permutation(len(OBJECTS))[:count]]
    objects = _place(words, rng)
    name = list(BACKGROUNDS)[int(rng.integers(len(BACKGROUNDS)))]
    sky, ground = (_two_tone(np.array(rgb, dtype=np.float32), rng) for rgb in BACKGROUNDS[name])
    horizon = float(rng.uniform(0.4, 0.75))
    return Scene(objects, name, horizon, sky, ground, int(rng.choice(len(TEMPLATES), p=_TEMPLATE_ODDS)))


def _place(words: list[str], rng: np.random.Generator) -> tuple[Placed, ...]:
    """Draw sizes and places until no two objects cover more than a sliver of each other."""
    low, high = _SIZE_RANGE[len(words) - 1]
    while True:
        drawn = [Placed(word, *map(float, (rng.uniform(low, high), rng.random(), rng.random()))) for word in words]
        boxes = [placed.box(1000, 1000) for placed in drawn]
        if all(_apart(a, b) for i, a in enumerate(boxes) for b in boxes[:i]):
            return tuple(drawn)


def _apart(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
    """True if the boxes overlap along one axis by at most a tenth of the smaller side."""
    slack = 0.1 * min(a[2] - a[0], b[2] - b[0])
    overlap_x = min(a[2], b[2]) - max(a[0], b[0])
    overlap_y = min(a[3], b[3]) - max(a[1], b[1])
    return min(overlap_x, overlap_y) < slack


def _two_tone(rgb: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Jitter a colour a little and spread it into a soft vertical gradient: [2, 3] in 0..255."""
    base = rgb + rng.normal(0.0, 5.0, size=3)
    spread = rng.uniform(4.0, 14.0)
    return np.clip(np.stack([base - spread, base + spread]), 0.0, 255.0).astype(np.float32)


@lru_cache(maxsize=1)
def _sprites() -> dict[str, tuple[Image.Image, ...]]:
    """Word -> the premultiplied sprite with its transparent border, full size and half size."""
    index = json.loads((SPRITES / "sprites.json").read_text(encoding="utf-8"))
    loaded: dict[str, tuple[Image.Image, ...]] = {}
    for word in OBJECTS:
        sprite = Image.open(SPRITES / index[word]).convert("RGBA")
        border = round(_MARGIN * sprite.width)
        framed = Image.new("RGBA", (sprite.width + 2 * border, sprite.height + 2 * border), (0, 0, 0, 0))
        framed.paste(sprite, (border, border))
        full = framed.convert("RGBa")
        loaded[word] = (full, full.resize((full.width // 2, full.height // 2), Image.Resampling.BOX))
    return loaded


def render(scene: Scene, height: int, width: int) -> np.ndarray:
    """Draw the scene: uint8 RGB [height, width, 3], antialiased, with subpixel placement."""
    canvas = _background(scene, height, width)
    for placed in sorted(scene.objects, key=lambda o: o.v):
        _draw(canvas, placed, height, width)
    return np.clip(np.rint(canvas), 0, 255).astype(np.uint8)


def _background(scene: Scene, height: int, width: int) -> np.ndarray:
    rows = (np.arange(height, dtype=np.float32) + 0.5) / height
    sky = scene.sky[0] + rows[:, None] / scene.horizon * (scene.sky[1] - scene.sky[0])
    below = (rows[:, None] - scene.horizon) / (1.0 - scene.horizon)
    ground = scene.ground[1] + below * (scene.ground[0] - scene.ground[1])
    share = np.clip(scene.horizon * height - np.arange(height, dtype=np.float32), 0.0, 1.0)[:, None]
    column = share * sky + (1.0 - share) * ground
    return np.repeat(column[:, None, :], width, axis=1).astype(np.float32)


def _draw(canvas: np.ndarray, placed: Placed, height: int, width: int) -> None:
    """Blend one sprite in place. The source box carries the subpixel shift, so the resize does the antialiasing."""
    left, top, right, bottom = placed.box(height, width)
    x0, y0 = max(int(np.floor(left)) - 1, 0), max(int(np.floor(top)) - 1, 0)
    x1, y1 = min(int(np.ceil(right)) + 1, width), min(int(np.ceil(bottom)) + 1, height)
    side = right - left
    levels = _sprites()[placed.word]
    bare = [level.width / (1 + 2 * _MARGIN) for level in levels]
    pick = 1 if bare[1] >= side else 0
    sprite, zoom = levels[pick], bare[pick] / side
    shift = _MARGIN * bare[pick]
    source = (
        shift + (x0 - left) * zoom,
        shift + (y0 - top) * zoom,
        shift + (x1 - left) * zoom,
        shift + (y1 - top) * zoom,
    )
    drawn = np.asarray(sprite.resize((x1 - x0, y1 - y0), Image.Resampling.BICUBIC, box=source), dtype=np.float32)
    patch = canvas[y0:y1, x0:x1]
    patch *= 1.0 - drawn[..., 3:] / 255.0
    patch += drawn[..., :3]
