"""Operators as JSON: strict reading of dicts that come from files nobody vouches for, and what is never written.

A file may not ask for absurd sizes. Each size in it is limited by its field's kind; here is what they may come to
together.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from .fields import MAX_SCALE, MAX_SIDE, Declared, Operators

if TYPE_CHECKING:
    from .base import LinearOperator

MAX_DEPTH = 8

Class = TypeVar("Class", bound="type[LinearOperator]")
_kinds: dict[str, type[LinearOperator]] = {}


def serialisable(kind: Class) -> Class:
    """Class decorator: let `LinearOperator.from_dict` build this operator, under its class name."""
    if kind.__name__ in _kinds:
        raise ValueError(f"an operator named {kind.__name__} is registered already")
    _kinds[kind.__name__] = kind
    return kind


def is_serialisable(kind: type) -> bool:
    """Whether `LinearOperator.from_dict` builds this very class."""
    return _kinds.get(kind.__name__) is kind


def read(config: object, depth: int = MAX_DEPTH) -> LinearOperator:
    """Build the operator that `config` describes; raises ValueError naming what is wrong with it."""
    if depth == 0:
        raise ValueError(f"operator config is nested deeper than {MAX_DEPTH} levels")
    if not isinstance(config, dict):
        raise ValueError(f"operator config must be a dict, not {type(config).__name__}")
    name = config.get("operator")
    if not isinstance(name, str) or name not in _kinds:
        raise ValueError(f"operator config names no known operator: {name!r:.80}; known: {sorted(_kinds)}")
    fields = {key: value for key, value in config.items() if key != "operator"}
    try:
        return _kinds[name]._from_config(fields, depth)
    except TypeError as error:  # for a caller's wrong arguments; of a file, its values are wrong
        raise ValueError(f"{name}: {error}") from None


def require_savable(operator: LinearOperator) -> None:
    """Raise ValueError for an operator nested too deeply, or one that would make absurd arrays of moderate ones."""
    if _levels(operator) > MAX_DEPTH:
        raise ValueError(f"{operator!r:.80} is nested deeper than {MAX_DEPTH} levels, too deep for a saved form")
    for back in (False, True):
        operator._grown(1.0, back)


def moderate(grown: float) -> float:
    """How many times larger an image gets, as it is; ValueError for more than a saved form may ask for."""
    if grown > MAX_SCALE:
        raise ValueError(f"an operator in a saved form may enlarge an image {MAX_SCALE} times at most, not {grown:g}")
    return grown


def grown_to(size: tuple[int, int]) -> float:
    """How many times larger than a moderate image a fixed size is: `MAX_SIDE` is `MAX_SCALE` times."""
    return moderate(max(1.0, max(size) * MAX_SCALE / MAX_SIDE))


def _levels(operator: LinearOperator) -> int:
    held = (getattr(operator, field.name) for field in Declared.of(type(operator)))
    inner = (part for value in held for part in (value if isinstance(value, tuple) else (value,)))
    return 1 + max((_levels(part) for part in inner if hasattr(part, "_grown")), default=0)


def arguments(kind: type, config: Mapping[str, Any], depth: int) -> tuple[list[Any], dict[str, Any]]:
    """The constructor's arguments for a config that holds exactly the declared fields; ValueError for another."""
    fields = Declared.of(kind)
    required = {field.key for field in fields if field.none != "left out"}
    if not required <= set(config) <= {field.key for field in fields}:
        wanted = sorted(field.key for field in fields)
        raise ValueError(f"{kind.__name__} config must hold exactly the fields {wanted}, not {list(config)!r:.200}")
    given: list[Any] = []
    by_keyword: dict[str, Any] = {}
    for field in fields:
        saved = config.get(field.key)
        value: Any = None if saved is None and field.none else field.kind.load(field.key, saved, depth)
        if isinstance(field.kind, Operators):
            given += value
        elif field.by_keyword:
            by_keyword[field.name] = value
        else:
            given.append(value)
    return given, by_keyword
