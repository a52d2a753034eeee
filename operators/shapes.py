"""Sizes: the error that names a way out, and the rule of operators that divide a grid."""

from collections.abc import Sequence
from fractions import Fraction
from typing import NamedTuple, TypeAlias

Size: TypeAlias = tuple[int, int]  # height, width: the last two dims of an array
Shape: TypeAlias = tuple[int, ...]
Scale: TypeAlias = tuple[int, int] | tuple[Fraction, Fraction]


class Refusal(NamedTuple):
    """Why an operator refuses a size, and which sizes near it would do."""

    rule: str
    nearest: tuple[Size, ...]


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


def indivisible(size: Size, scale: Scale) -> Refusal | None:
    """The refusal of a size that `scale` does not divide into whole pixels, or None."""
    steps = scale[0].numerator, scale[1].numerator
    if all(length > 0 and length % step == 0 for length, step in zip(size, steps)):
        return None
    above = tuple(max(1, -(-length // step)) * step for length, step in zip(size, steps))
    below = tuple(max(1, length // step) * step for length, step in zip(size, steps))
    rule = f"height and width must be positive multiples of {steps[0]} and {steps[1]}"
    return Refusal(rule, tuple(dict.fromkeys([(below[0], below[1]), (above[0], above[1])])))
