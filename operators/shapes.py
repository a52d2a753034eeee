"""Sizes: the error that names a way out, and the rule of operators that divide a grid."""

import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import TypeAlias

from .fields import Whole

Size: TypeAlias = tuple[int, int]  # height, width: the last two dims of an array
Shape: TypeAlias = tuple[int, ...]
Scale: TypeAlias = tuple[int, int] | tuple[Fraction, Fraction]


class ShapeError(ValueError):
    """An array has a shape the operator is not defined on; `nearest` holds the closest sizes that are."""

    def __init__(self, operator: str, shape: Sequence[int], rule: str, nearest: Sequence[Size] = ()):
        super().__init__(operator, tuple(shape), rule, tuple(nearest))
        self.operator, self.shape, self.rule, self.nearest = operator, tuple(shape), rule, tuple(nearest)

    def __str__(self) -> str:
        advice = f"; nearest valid sizes: {', '.join(map(str, self.nearest))}" if self.nearest else ""
        return f"{self.operator} cannot take shape {self.shape}: {self.rule}{advice}"


def divided(size: Size, scale: Scale) -> Size:
    """The size `scale` times smaller; exact where `indivisible` finds no fault."""
    (height, width), (sy, sx) = size, scale
    return height // sy.numerator * sy.denominator, width // sx.numerator * sx.denominator


def multiplied(size: Size, scale: Scale) -> Size:
    """The size `scale` times larger, the inverse of `divided`."""
    (height, width), (sy, sx) = size, scale
    return height // sy.denominator * sy.numerator, width // sx.denominator * sx.numerator


def indivisible(size: Size, scale: Scale) -> str | None:
    """The rule broken by a size that `scale` does not divide into whole pixels, or None."""
    steps = scale[0].numerator, scale[1].numerator
    if all(length > 0 and length % step == 0 for length, step in zip(size, steps)):
        return None
    return f"height and width must be positive multiples of {steps[0]} and {steps[1]}"


def nearest_divisible(size: Size, scale: Scale) -> tuple[Size, ...]:
    """The sizes just below and just above that `scale` does divide."""
    steps = scale[0].numerator, scale[1].numerator
    below, above = (
        (max(1, rounded(size[0] / steps[0])) * steps[0], max(1, rounded(size[1] / steps[1])) * steps[1])
        for rounded in (math.floor, math.ceil)
    )
    return (below,) if below == above else (below, above)


def nearest_by_search(size: Size, valid: Callable[[Size], bool], reach: int = 64, wanted: int = 3) -> tuple[Size, ...]:
    """Up to `wanted` valid sizes in order of |dh| + |dw|, none farther than `reach`; for rules with no closed form."""
    height, width = size
    found: list[Size] = []
    for distance in range(1, reach + 1):
        for dh in range(-distance, distance + 1):
            dw = distance - abs(dh)
            ring = {(height + dh, width + dw), (height + dh, width - dw)}
            found += sorted(near for near in ring if min(near) > 0 and valid(near))
            if len(found) >= wanted:
                return tuple(found[:wanted])
    return tuple(found)


def whole_cells(move: object, distance: tuple[int, int], pixels: int) -> tuple[int, int]:
    """A distance (dx, dy) in cells `pixels` wide; ValueError naming `move` and the nearest where it is no whole one."""
    width, (dx, dy) = Whole(1).take("pixels", pixels), distance
    if dx % width or dy % width:
        near = " or ".join(f"({to(dx / width) * width}, {to(dy / width) * width})" for to in (math.floor, math.ceil))
        raise ValueError(f"{move!r} is no whole number of cells of {width} pixels; nearest (dx, dy): {near}")
    return dx // width, dy // width
