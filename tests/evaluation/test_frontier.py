"""The frontier, where names are written, and the picture."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from commutant.errors import Refusal
from commutant.integrations.evaluation import Point, pareto, plot_frontier
from commutant.integrations.evaluation.plots import Box, placed


def sample(count: int = 30) -> list[Point]:
    rng = np.random.default_rng(0)
    kinds = ("ours", "paper", "baseline")
    costs = rng.uniform(0.1, 1.0, count)
    values = 15 + 12 * costs**0.5 + rng.normal(0, 2, count)
    return [Point(f"method number {i}", c, v, kinds[i % 3]) for i, (c, v) in enumerate(zip(costs, values))]


def names(points: list[Point]) -> list[str]:
    return [p.name for p in points]


def test_the_frontier_of_a_known_set() -> None:
    points = [Point("c", 3, 9), Point("a", 1, 5), Point("dear", 2, 4), Point("b", 2, 7), Point("same as b", 2, 7)]
    points += [Point("equal cost, worse", 1, 4), Point("equal quality, dearer", 4, 9)]
    assert names(pareto(points)) == ["a", "b", "same as b", "c"]
    assert names(pareto(points, higher=False)) == ["equal cost, worse"]


@pytest.mark.parametrize("higher", [True, False])
def test_the_frontier_against_every_pair(higher: bool) -> None:
    rng = np.random.default_rng(4)
    points = [Point(str(i), *rng.integers(0, 8, 2)) for i in range(60)]
    sign = 1 if higher else -1

    def beats(a: Point, b: Point) -> bool:
        no_worse = a.cost <= b.cost and sign * a.quality >= sign * b.quality
        return no_worse and (a.cost, a.quality) != (b.cost, b.quality)

    slow = {p.name for p in points if not any(beats(q, p) for q in points)}
    assert set(names(pareto(points, higher=higher))) == slow


def covered(boxes: list[Box]) -> int:
    """How many pairs of names cover each other."""
    return sum(
        a.left < b.right and b.left < a.right and a.bottom < b.top and b.bottom < a.top
        for i, a in enumerate(boxes)
        for b in boxes[:i]
    )


def test_names_cover_neither_points_nor_one_another() -> None:
    rng = np.random.default_rng(1)
    points = [tuple(p) for p in rng.uniform([100, 100], [1600, 1000], (30, 2))]
    inside = (0, 0, 1800, 1200)
    boxes = placed(points, [(200, 20)] * 30, inside)
    assert covered(boxes) == 0
    for box in boxes:
        assert 0 <= box.left < box.right <= 1800
        assert 0 <= box.bottom < box.top <= 1200
        assert not any(box.left < x < box.right and box.bottom < y < box.top for x, y in points)
    # The check sees it where names stand on one another.
    assert covered([Box(0, 0, 200, 20, False)] * 3) == 3


def test_names_keep_away_from_what_is_taken() -> None:
    alone = placed([(500, 500)], [(100, 20)], (0, 0, 1000, 1000))
    assert alone == [Box(511, 490, 611, 510, False)]
    (moved,) = placed([(500, 500)], [(100, 20)], (0, 0, 1000, 1000), [(505, 480, 700, 520)])
    assert moved.right <= 505
    (at_edge,) = placed([(980, 500)], [(100, 20)], (0, 0, 1000, 1000))
    assert at_edge.right <= 1000
    (off_the_line,) = placed([(500, 500)], [(100, 20)], (0, 0, 1000, 1000), lines=[(500, 495, 1000, 505)])
    assert off_the_line.right <= 500 or off_the_line.bottom >= 505 or off_the_line.top <= 495


@pytest.mark.parametrize(("higher", "logarithmic"), [(True, False), (False, True)])
def test_the_picture(tmp_path: Path, higher: bool, logarithmic: bool) -> None:
    pytest.importorskip("matplotlib")
    image = pytest.importorskip("PIL.Image")
    path = tmp_path / "new" / "frontier.png"
    plot_frontier(sample(), path, quality="PSNR (dB)", title="a test", higher=higher, logarithmic=logarithmic)
    with image.open(path) as picture:
        assert picture.format == "PNG"
        assert picture.size == (1800, 1200)
        pixels = np.asarray(picture.convert("RGB")).astype(int)
    for colour in ((0xC9, 0x37, 0x1F), (0x2B, 0x6A, 0x99), (0x6B, 0x65, 0x5C)):
        assert (np.abs(pixels - colour).sum(axis=-1) < 12).sum() > 500
    first = path.read_bytes()
    plot_frontier(sample(), path, quality="PSNR (dB)", title="a test", higher=higher, logarithmic=logarithmic)
    assert path.read_bytes() == first
    plot_frontier([Point("only one", 0.5, 20.0)], path, quality="PSNR (dB)", higher=higher, logarithmic=logarithmic)


def test_what_cannot_be_drawn_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "frontier.png"
    with pytest.raises(ValueError, match="at least one"):
        plot_frontier([], path, quality="q")
    with pytest.raises(ValueError, match="'broken' is not finite"):
        plot_frontier([Point("broken", 1.0, float("nan"))], path, quality="q")
    with pytest.raises(ValueError, match="logarithmic"):
        plot_frontier([Point("free", 0.0, 1.0)], path, quality="q", logarithmic=True)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(Refusal, match=r"matplotlib, which is not installed: pip install 'commutant\[diffusers\]'"):
        plot_frontier(sample(), path, quality="q")
    assert not path.exists()
