"""Where to write the names of points so that they cover neither points nor one another."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

Extent = tuple[float, float, float, float]  # left, bottom, right, top, in pixels


@dataclass(frozen=True)
class Box:
    """Where one name stands; far: whether it needs a line to its point."""

    left: float
    bottom: float
    right: float
    top: float
    far: bool


def placed(
    points: Sequence[tuple[float, ...]],
    sizes: Sequence[tuple[float, float]],
    inside: Extent,
    taken: Sequence[Extent] = (),
    *,
    lines: Sequence[Extent] = (),
    gap: float = 11.0,
) -> list[Box]:
    """A place for each name, in the order given: the first ones choose first.

    Candidates lie beside the point, then on wider and wider rings around it; the one that covers least is taken, and of
    equal ones the first. Greedy, deterministic, all in pixels.

    Args:
        points: (x, y) of each point.
        sizes: (width, height) of each name.
        inside: what no name may leave.
        taken: places that are occupied already.
        lines: what a name had better not cover, though its own line to the point may cross it.
        gap: from a point's centre to its name, about the marker's radius and a little.
    """
    markers = [(x - gap * 0.75, y - gap * 0.75, x + gap * 0.75, y + gap * 0.75) for x, y in points]
    occupied: list[Extent] = list(taken)
    out: list[Box] = []
    for i, ((x, y), (width, height)) in enumerate(zip(points, sizes)):
        others = markers[:i] + markers[i + 1 :]
        best, least = None, math.inf
        for left, bottom, ring in _candidates(x, y, width, height, gap):
            extent = (left, bottom, left + width, bottom + height)
            outside = _area(extent) - _overlap(extent, inside)
            covered = 4 * outside + sum(_overlap(extent, other) for other in (*occupied, *markers))
            covered += 0.3 * sum(_overlap(extent, line) for line in lines)  # across one is legible, along one is not
            if ring:
                # A name's own line must not run through points and names; and the farther, the worse.
                crossed = sum(_crosses((x, y), _facing(x, y, extent), other) for other in (*others, *occupied))
                covered += 150 * crossed + 25 * ring
            if covered < least - 1e-9:
                best, least = Box(*extent, far=ring > 0), covered
        assert best is not None
        out.append(best)
        extent = (best.left, best.bottom, best.right, best.top)
        occupied.append(extent)
        if best.far:
            end_x, end_y = _facing(x, y, extent)
            for k in range(1, 9):  # nor may later names stand on it
                on_x, on_y = x + (end_x - x) * k / 8, y + (end_y - y) * k / 8
                occupied.append((on_x - 3, on_y - 3, on_x + 3, on_y + 3))
    return out


def _facing(x: float, y: float, box: Extent) -> tuple[float, float]:
    """The place of a box that is nearest to a point."""
    return min(max(x, box[0]), box[2]), min(max(y, box[1]), box[3])


def _candidates(x: float, y: float, width: float, height: float, gap: float) -> Iterator[tuple[float, float, int]]:
    """(left, bottom, ring) of places around a point, the usual ones first."""
    middle = y - height / 2
    yield x + gap, middle, 0
    yield x - gap - width, middle, 0
    for bottom in (y + gap * 0.6, y - gap * 0.6 - height):
        yield x + gap * 0.5, bottom, 0
        yield x - gap * 0.5 - width, bottom, 0
        yield x - width / 2, bottom + math.copysign(gap * 0.4, bottom - y), 0
    for ring in range(1, 9):
        for step in range(16):
            angle = 2 * math.pi * step / 16
            radius = gap + ring * height
            centre_x, centre_y = x + radius * math.cos(angle), y + radius * math.sin(angle)
            # The side of the name that faces the point lies on the ring.
            left = centre_x - width * (1 - math.cos(angle)) / 2
            yield left, centre_y - height / 2, ring


def _area(a: Extent) -> float:
    return max(0.0, a[2] - a[0]) * max(0.0, a[3] - a[1])


def _overlap(a: Extent, b: Extent) -> float:
    return _area((max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])))


def _crosses(start: tuple[float, float], end: tuple[float, float], box: Extent) -> bool:
    """Whether a short line passes through a box, by sampling it."""
    for i in range(1, 9):
        x, y = (a + (b - a) * i / 8 for a, b in zip(start, end))
        if box[0] < x < box[2] and box[1] < y < box[3]:
            return True
    return False
