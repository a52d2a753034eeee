"""Operators as JSON: strict reading of dicts that come from files nobody vouches for."""

from collections.abc import Mapping
from fractions import Fraction
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from .base import LinearOperator

MAX_INTEGER = 2**20  # far above any image side; keeps a hostile header from asking for absurd sizes
MAX_DEPTH = 8

Config = dict[str, Any]
Kind = TypeVar("Kind", bound="type[LinearOperator]")
_kinds: dict[str, "type[LinearOperator]"] = {}


def serialisable(kind: Kind) -> Kind:
    """Class decorator: let `LinearOperator.from_dict` build this operator, under its class name."""
    if kind.__name__ in _kinds:
        raise ValueError(f"an operator named {kind.__name__} is registered already")
    _kinds[kind.__name__] = kind
    return kind


def read(config: object, depth: int = MAX_DEPTH) -> "LinearOperator":
    """Build the operator that `config` describes; raises ValueError naming what is wrong with it."""
    if depth == 0:
        raise ValueError(f"operator config is nested deeper than {MAX_DEPTH} levels")
    if not isinstance(config, dict):
        raise ValueError(f"operator config must be a dict, not {type(config).__name__}")
    name = config.get("operator")
    if not isinstance(name, str) or name not in _kinds:
        raise ValueError(f"operator config names no known operator: {name!r:.80}; known: {sorted(_kinds)}")
    fields = {key: value for key, value in config.items() if key != "operator"}
    return _kinds[name]._from_config(fields, depth)


def take(kind: str, config: Mapping[str, Any], *names: str) -> tuple[Any, ...]:
    """The values of exactly these fields; raises ValueError on a missing or an unknown one."""
    if set(config) != set(names):
        raise ValueError(f"{kind} config must hold exactly the fields {sorted(names)}, not {list(config)!r:.200}")
    return tuple(config[name] for name in names)


def integer(field: str, value: object, low: int) -> int:
    """A JSON integer in [low, MAX_INTEGER]; booleans and floats are refused."""
    if type(value) is not int or not low <= value <= MAX_INTEGER:
        raise ValueError(f"{field} must be an integer from {low} to {MAX_INTEGER}, not {type(value).__name__}")
    return value


def signed(field: str, value: object) -> int:
    """A JSON integer of at most MAX_INTEGER either way."""
    if type(value) is not int or abs(value) > MAX_INTEGER:
        raise ValueError(f"{field} must be an integer from -{MAX_INTEGER} to {MAX_INTEGER}, not {type(value).__name__}")
    return value


def text(field: str, value: object) -> str:
    """A short JSON string."""
    if type(value) is not str or len(value) > 64:
        raise ValueError(f"{field} must be a short string, not {type(value).__name__}")
    return value


def pair(field: str, value: object, low: int) -> tuple[int, int]:
    """A JSON list of two integers, each in [low, MAX_INTEGER]."""
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise ValueError(f"{field} must be a list of two integers")
    return integer(field, value[0], low), integer(field, value[1], low)


def ratio(field: str, value: object) -> Fraction:
    """A JSON list [numerator, denominator] as a Fraction."""
    return Fraction(*pair(field, value, 1))


def number(field: str, value: object) -> float:
    """A JSON number of moderate size."""
    if type(value) not in (int, float) or not abs(value) <= 2**64:  # type: ignore[arg-type,operator]
        raise ValueError(f"{field} must be a number of moderate size, not {type(value).__name__}")
    return float(value)  # type: ignore[arg-type]


def numbers(field: str, value: object, rows: int, columns: int) -> list[list[float]]:
    """A JSON list of `rows` lists of `columns` numbers."""
    if not isinstance(value, list | tuple) or len(value) != rows:
        raise ValueError(f"{field} must be a list of {rows} lists of {columns} numbers")
    if not all(isinstance(row, list | tuple) and len(row) == columns for row in value):
        raise ValueError(f"{field} must be a list of {rows} lists of {columns} numbers")
    return [[number(field, entry) for entry in row] for row in value]
