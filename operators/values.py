"""Reading constructor arguments: what a person may write, in one canonical form."""

import math
import operator
from fractions import Fraction
from numbers import Rational, Real

ROUNDINGS = (math.floor, math.ceil)


def whole(name: str, value: object, low: int | None = None) -> int:
    """An integer, of at least `low`; numpy integers will do, booleans and floats will not."""
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise TypeError(f"{name} must be an integer, not {value!r}")
    number = operator.index(value)  # type: ignore[call-overload]
    if low is not None and number < low:
        raise ValueError(f"{name} must be at least {low}, not {number}")
    return number


def choice(name: str, value: object, options: tuple[str, ...]) -> str:
    """One of a few words."""
    if not isinstance(value, str) or value not in options:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, options))}, not {value!r}")
    return value


def whole_pair(name: str, value: object, low: int) -> tuple[int, int]:
    """Two integers of at least `low`, for height and width; one stands for both."""
    first, second = _pair(name, value)
    return whole(name, first, low), whole(name, second, low)


def ratio_pair(name: str, value: object) -> tuple[Fraction, Fraction]:
    """Two exact positive ratios, for height and width; one stands for both."""
    first, second = _pair(name, value)
    return _ratio(name, first), _ratio(name, second)


def real(name: str, value: object) -> float:
    """A finite real number; booleans are none."""
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{name} must be a real number, not {value!r}")
    if not math.isfinite(value):
        raise ValueError(f"{name} must be finite, not {value!r}")
    return float(value)


def whole_cells(move: object, distance: tuple[int, int], pixels: int) -> tuple[int, int]:
    """A distance (dx, dy) in cells `pixels` wide; ValueError naming `move` and the nearest where it is no whole one."""
    width, (dx, dy) = whole("pixels", pixels, 1), distance
    if dx % width or dy % width:
        near = " or ".join(f"({round_(dx / width) * width}, {round_(dy / width) * width})" for round_ in ROUNDINGS)
        raise ValueError(f"{move!r} is no whole number of cells of {width} pixels; nearest (dx, dy): {near}")
    return dx // width, dy // width


def _pair(name: str, value: object) -> tuple[object, object]:
    if not isinstance(value, tuple | list):
        return value, value
    if len(value) != 2:
        raise ValueError(f"{name} must be one number, or two for height and width, not {value!r}")
    return value[0], value[1]


def _ratio(name: str, value: object) -> Fraction:
    if isinstance(value, bool) or not isinstance(value, Rational):
        raise TypeError(f"{name} must be an int or a fractions.Fraction such as Fraction(4, 3), not {value!r}")
    if value <= 0:
        raise ValueError(f"{name} must be more than 0, not {value}")
    return Fraction(value)


def flag(name: str, value: object) -> bool:
    """True or False, and nothing that only counts as such."""
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be True or False, not {value!r}")
    return value
