"""Quality against cost: which methods no other one beats in both, and the picture of it, every point with its name."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from ...errors import Refusal
from .methods import Kind

# Marker and colour both tell the kind: the picture must survive a black and white print.
_LOOKS: dict[Kind, tuple[str, str, str]] = {
    "ours": ("o", "#c9371f", "this project"),
    "paper": ("s", "#2b6a99", "the paper and its parts"),
    "baseline": ("^", "#6b655c", "what people use instead"),
}
_PAPER, _INK, _FAINT, _RULE = "#ffffff", "#1d1b18", "#837c71", "#e4dfd5"


@dataclass(frozen=True)
class Point:
    """One method: what it costs (lower is better) and how good it is (higher is better, or as `pareto` is told)."""

    name: str
    cost: float
    quality: float
    kind: Kind = "baseline"


def pareto(points: Sequence[Point], *, higher: bool = True) -> list[Point]:
    """The points that no other one equals or beats in both with one of them strictly, by rising cost.

    Points equal in both stay together. `higher=False` where a lower quality value is better (FLIP, GMSD).
    """
    sign = 1 if higher else -1
    best = float("-inf")
    out: list[Point] = []
    ordered = sorted(points, key=lambda p: (p.cost, -sign * p.quality))
    for point in ordered:
        value = sign * point.quality
        same = bool(out) and (point.cost, point.quality) == (out[-1].cost, out[-1].quality)
        if value > best or same:
            out.append(point)
            best = value
    return out


def plot_frontier(
    points: Sequence[Point],
    path: Path,
    *,
    quality: str,
    cost: str = "cost of a preview, in full runs of the final",
    title: str = "",
    higher: bool = True,
    logarithmic: bool = False,
) -> None:
    """Draw the points and the frontier as PNG to `path`, 1800 x 1200 pixels.

    Every point has its name beside it, placed where it covers nothing; those on the frontier are set in bold and joined
    by a stair line (below and right of it, nothing is reached). Labels only shown at a distance have a thin line to
    their point. For `higher=False` the quality axis is turned over, so that up is always better.

    Args:
        quality, cost: titles of the axes.
        logarithmic: of the cost axis, for costs over more than one order of magnitude.

    Raises:
        Refusal: where matplotlib is not installed.
        ValueError: for no points, values that are not finite, or costs not above 0 on a logarithmic axis.
    """
    if not points:
        raise ValueError("a frontier needs at least one point")
    broken = [p.name for p in points if not (math.isfinite(p.cost) and math.isfinite(p.quality))]
    if broken:
        raise ValueError(f"cost or quality of {broken[0]!r} is not finite")
    if logarithmic and min(p.cost for p in points) <= 0:
        raise ValueError("a cost of 0 has no place on a logarithmic axis")
    figure_class, canvas_class = drawing()
    figure = figure_class(figsize=(12, 8), dpi=150, facecolor=_PAPER)
    canvas = canvas_class(figure)
    axes = figure.add_axes((0.07, 0.08, 0.91, 0.84))
    front = pareto(points, higher=higher)
    _frame(axes, quality, cost, title, higher, logarithmic)
    _scatter(axes, points, front)
    _limits(axes, points, higher, logarithmic)
    _stair(axes, front)
    legend = axes.legend(loc="lower right", frameon=True, framealpha=1, edgecolor=_RULE, fontsize=10, labelcolor=_INK)
    canvas.draw()  # labels are placed in pixels, which are known only now
    _label(axes, figure, points, front, legend)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, format="png")


def drawing() -> tuple[Any, Any]:
    """Figure and canvas without pyplot: no window system, and nobody's global figures are touched.

    Raises:
        Refusal: where matplotlib is not installed. A run that ends with a plot asks before it begins.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise Refusal(
            "plots are drawn with matplotlib, which is not installed: pip install 'commutant[diffusers]'"
        ) from error
    return Figure, FigureCanvasAgg


def _frame(axes: Any, quality: str, cost: str, title: str, higher: bool, logarithmic: bool) -> None:
    from matplotlib import ticker

    axes.set_xlabel(cost + "   (left is better)", color=_INK, fontsize=11)
    axes.set_ylabel(quality + ("   (up is better)" if higher else "   (axis turned over: up is better)"), color=_INK)
    axes.yaxis.label.set_fontsize(11)
    if title:
        axes.set_title(title, loc="left", color=_INK, fontsize=14, pad=12)
    if logarithmic:
        axes.set_xscale("log")
        # 0.2, not 2 x 10^-1.
        axes.xaxis.set_major_locator(ticker.LogLocator(subs=(1.0, 2.0, 3.0, 5.0)))
        axes.xaxis.set_major_formatter(ticker.FormatStrFormatter("%g"))
        axes.xaxis.set_minor_locator(ticker.NullLocator())
    axes.grid(color=_RULE, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(colors=_FAINT, labelsize=10)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(_FAINT)


def _scatter(axes: Any, points: Sequence[Point], front: Sequence[Point]) -> None:
    for kind, (marker, colour, meaning) in _LOOKS.items():
        own = [p for p in points if p.kind == kind]
        if own:
            costs, values = [p.cost for p in own], [p.quality for p in own]
            edges = [_INK if p in front else _PAPER for p in own]
            axes.scatter(costs, values, s=62, marker=marker, c=colour, edgecolors=edges, zorder=3, label=meaning)


def _limits(axes: Any, points: Sequence[Point], higher: bool, logarithmic: bool) -> None:
    costs, values = [p.cost for p in points], [p.quality for p in points]
    room = 0.08 * (max(values) - min(values) or 1.0)
    ends = (min(values) - room, max(values) + room)
    axes.set_ylim(ends if higher else ends[::-1])
    if logarithmic:
        axes.set_xlim(min(costs) / 1.35, max(costs) * 1.35)
    else:
        room = 0.12 * (max(costs) - min(costs) or 1.0)
        axes.set_xlim(min(costs) - room, max(costs) + room)


def _corners(axes: Any, front: Sequence[Point]) -> list[tuple[float, float]]:
    """The stair line of the frontier: along to the next point's cost, then up to it, at last to the right end."""
    out = []
    for point, following in zip(front, [*front[1:], None]):
        out.append((point.cost, point.quality))
        out.append((axes.get_xlim()[1] if following is None else following.cost, point.quality))
    return out


def _stair(axes: Any, front: Sequence[Point]) -> None:
    costs, values = zip(*_corners(axes, front))
    axes.plot(costs, values, color=_INK, linewidth=1.2, alpha=0.55, zorder=2, label="the frontier")


def _label(axes: Any, figure: Any, points: Sequence[Point], front: Sequence[Point], legend: Any) -> None:
    """Write the names where `placed` finds room, first those on the frontier."""
    from matplotlib.patheffects import withStroke

    renderer = figure.canvas.get_renderer()
    ordered = [*front, *[p for p in points if p not in front]]
    at = [tuple(float(v) for v in axes.transData.transform((p.cost, p.quality))) for p in ordered]
    texts = []
    for point in ordered:
        weight = "bold" if point in front else "normal"
        texts.append(
            axes.text(
                0,
                0,
                point.name,
                fontsize=9.5,
                color=_LOOKS[point.kind][1],
                weight=weight,
                va="bottom",
                zorder=4,
                path_effects=[withStroke(linewidth=2.5, foreground=_PAPER)],  # no grid line through a name
            )
        )
    sizes = [(b.width, b.height) for b in (t.get_window_extent(renderer) for t in texts)]
    inside, taken = axes.get_window_extent(renderer), legend.get_window_extent(renderer)
    corners = axes.transData.transform(_corners(axes, front))
    lines = [_thick(a, b) for a, b in pairwise(corners)]
    frame = (inside.x0, inside.y0, inside.x1, inside.y1)
    boxes = placed(at, sizes, frame, [(taken.x0, taken.y0, taken.x1, taken.y1)], lines=lines)
    back = axes.transData.inverted()
    for text, anchor, box in zip(texts, at, boxes):
        text.set_position(back.transform((box.left, box.bottom)))
        if box.far:
            end = (min(max(anchor[0], box.left), box.right), min(max(anchor[1], box.bottom), box.top))
            (x0, y0), (x1, y1) = back.transform(anchor), back.transform(end)
            axes.plot([x0, x1], [y0, y1], color=_FAINT, linewidth=0.7, zorder=1)


def _thick(a: Any, b: Any, half: float = 5.0) -> tuple[float, float, float, float]:
    """The box around a horizontal or vertical line, in pixels."""
    low, high = [min(u, v) - half for u, v in zip(a, b)], [max(u, v) + half for u, v in zip(a, b)]
    return low[0], low[1], high[0], high[1]


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
