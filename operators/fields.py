"""What the fields of an operator hold: constructor arguments, saved forms and the repr derive from one declaration.

An operator is a frozen dataclass whose fields name their kind:

    dx: int = field(default=0, metadata=holds(Whole()))

`Kind.take` reads what a person may write in the constructor, in one canonical form. `Kind.load` reads JSON from files
that nobody vouches for: anything unexpected is a ValueError, and so is what would ask for absurd sizes. `Kind.save`
writes nothing that `load` refuses.
"""

from __future__ import annotations

import dataclasses
import math
import operator
from collections.abc import Iterable
from fractions import Fraction
from numbers import Rational, Real
from typing import TYPE_CHECKING, Any

import numpy as np

from .host_array import MAX_VALUES, HostArray

if TYPE_CHECKING:
    from .base import LinearOperator

MAX_INTEGER = 2**20  # of distances in a saved form: far above any image side
MAX_SIDE = 2**12  # of a target size in a saved form: its dense matrices take 128 MiB
MAX_SCALE = 2**6  # by which a saved form may make an image larger or smaller
LARGEST = 2.0**32  # of an entry of a map of the plane: beyond it positions between pixels have lost their meaning
SHOWN = 64  # values of a matrix that a repr spells out

Config = dict[str, Any]
Rows = tuple[tuple[float, ...], ...]


class Kind:
    """What one field holds. `load` raises ValueError only; `take` raises TypeError for another type as well."""

    def take(self, name: str, value: Any) -> Any:
        """The canonical form of a constructor argument."""
        return value

    def load(self, name: str, saved: Any, depth: int) -> Any:
        """The constructor argument that untrusted JSON describes."""
        raise NotImplementedError

    def save(self, name: str, value: Any) -> Any:
        """The JSON-able form; raises ValueError for what `load` would refuse."""
        self.load(name, saved := self._json(value), 1)
        return saved

    def show(self, value: Any) -> str:
        """The value as the repr has it."""
        return repr(value)

    def _json(self, value: Any) -> Any:
        return value


@dataclasses.dataclass(frozen=True)
class Whole(Kind):
    """An integer of at least `low`; numpy integers will do, booleans and floats will not."""

    low: int | None = None
    high: int = MAX_INTEGER  # in a saved form

    def take(self, name: str, value: Any) -> int:
        if isinstance(value, bool) or not hasattr(value, "__index__"):
            raise TypeError(f"{name} must be an integer, not {value!r}")
        number = operator.index(value)
        if self.low is not None and number < self.low:
            raise ValueError(f"{name} must be at least {self.low}, not {number}")
        return number

    def load(self, name: str, saved: Any, depth: int) -> int:
        low = -self.high if self.low is None else self.low
        if type(saved) is not int or not low <= saved <= self.high:
            raise ValueError(f"{name} must be an integer from {low} to {self.high}, not {type(saved).__name__}")
        return saved


class RealNumber(Kind):
    """A finite real number; booleans are none."""

    def take(self, name: str, value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, Real):
            raise TypeError(f"{name} must be a real number, not {value!r}")
        if not math.isfinite(value):
            raise ValueError(f"{name} must be finite, not {value!r}")
        return float(value)

    def load(self, name: str, saved: Any, depth: int) -> float:
        if type(saved) not in (int, float) or not abs(saved) <= 2**64:
            raise ValueError(f"{name} must be a number of moderate size, not {type(saved).__name__}")
        return float(saved)


@dataclasses.dataclass(frozen=True)
class Choice(Kind):
    """One of a few words."""

    options: tuple[str, ...]

    def take(self, name: str, value: Any) -> str:
        if not isinstance(value, str) or value not in self.options:
            raise ValueError(f"{name} must be one of {', '.join(map(repr, self.options))}, not {value!r:.80}")
        return value

    def load(self, name: str, saved: Any, depth: int) -> str:
        return self.take(name, saved)


class Flag(Kind):
    """True or False, and nothing that only counts as such."""

    def take(self, name: str, value: Any) -> bool:
        if not isinstance(value, bool):
            raise TypeError(f"{name} must be True or False, not {value!r}")
        return value

    def load(self, name: str, saved: Any, depth: int) -> bool:
        if type(saved) is not bool:
            raise ValueError(f"{name} must be true or false, not {type(saved).__name__}")
        return saved


@dataclasses.dataclass(frozen=True)
class Pair(Kind):
    """Two integers for height and width; one stands for both."""

    low: int
    high: int = MAX_INTEGER
    brief: bool = False  # whether the repr writes two equal ones as one

    def take(self, name: str, value: Any) -> tuple[int, int]:
        first, second = _two(name, value)
        return Whole(self.low).take(name, first), Whole(self.low).take(name, second)

    def load(self, name: str, saved: Any, depth: int) -> tuple[int, int]:
        if not isinstance(saved, list | tuple) or len(saved) != 2:
            raise ValueError(f"{name} must be a list of two integers")
        each = Whole(self.low, self.high)
        return each.load(name, saved[0], depth), each.load(name, saved[1], depth)

    def show(self, value: tuple[int, int]) -> str:
        return repr(value[0] if self.brief and value[0] == value[1] else value)

    def _json(self, value: tuple[int, int]) -> list[int]:
        return list(value)


class Ratios(Kind):
    """Two exact positive ratios, for height and width; one stands for both."""

    def take(self, name: str, value: Any) -> tuple[Fraction, Fraction]:
        first, second = _two(name, value)
        return _ratio(name, first), _ratio(name, second)

    def load(self, name: str, saved: Any, depth: int) -> tuple[Fraction, Fraction]:
        if not isinstance(saved, list | tuple) or len(saved) != 2:
            raise ValueError(f"{name} must be a list of two ratios")
        first, second = (Fraction(*Pair(1, MAX_SIDE).load(name, ratio, depth)) for ratio in saved)
        if max(first, 1 / first, second, 1 / second) > MAX_SCALE:
            raise ValueError(f"{name} must hold ratios from 1/{MAX_SCALE} to {MAX_SCALE}")
        return first, second

    def show(self, value: tuple[Fraction, Fraction]) -> str:
        sy, sx = (int(s) if s.denominator == 1 else s for s in value)
        return repr(sy if sy == sx else (sy, sx))

    def _json(self, value: tuple[Fraction, Fraction]) -> list[list[int]]:
        return [[s.numerator, s.denominator] for s in value]


@dataclasses.dataclass(frozen=True)
class Entries(Kind):
    """A small matrix of one of `shapes`, in rows of finite floats of at most LARGEST; saved in the first shape."""

    shapes: tuple[tuple[int, int], ...]

    def take(self, name: str, value: Any) -> Rows:
        if hasattr(value, "detach"):  # a torch tensor
            value = value.detach().cpu()
        wanted = " or ".join(f"{height} x {width}" for height, width in self.shapes)
        try:
            given = np.asarray(value)
            if given.dtype.kind not in "iuf" or given.shape not in self.shapes:
                raise TypeError
        except (TypeError, ValueError) as error:
            raise ValueError(f"{name} must be a matrix of {wanted} real numbers") from error
        if not np.isfinite(given).all() or np.abs(given).max() > LARGEST:
            raise ValueError(f"{name} must hold finite numbers of at most {LARGEST:.0f}")
        return tuple(tuple(row) for row in given.astype(np.float64).tolist())

    def load(self, name: str, saved: Any, depth: int) -> list[list[float]]:
        rows, columns = self.shapes[0]
        listed = isinstance(saved, list | tuple) and len(saved) == rows
        if not listed or not all(isinstance(line, list | tuple) and len(line) == columns for line in saved):
            raise ValueError(f"{name} must be a list of {rows} lists of {columns} numbers")
        return [[RealNumber().load(name, entry, depth) for entry in line] for line in saved]

    def _json(self, value: Rows) -> list[list[float]]:
        return [list(row) for row in value]


@dataclasses.dataclass(frozen=True)
class Held(Kind):
    """An array of `dims` dims on the host, kept as a HostArray and saved as base64."""

    dims: int
    dtype: type = np.float64

    def take(self, name: str, value: Any) -> HostArray:
        return HostArray(name, value, self.dtype)

    def load(self, name: str, saved: Any, depth: int) -> np.ndarray:
        dtypes = ["int64"] if self.dtype is np.int64 else ["float32", "float64"]
        return HostArray.from_config(name, saved, self.dims, dtypes).values

    def save(self, name: str, value: HostArray) -> Config:
        return value.to_config()

    def show(self, value: HostArray) -> str:
        return str(value)


class Matrix(Kind):
    """A matrix kept as a HostArray, saved as lists; a repr spells out small ones."""

    def take(self, name: str, value: Any) -> HostArray:
        held = HostArray(name, value)
        if held.values.ndim != 2 or held.values.size == 0:
            raise ValueError(f"{name} must be a matrix of two dims, not of shape {held.values.shape}")
        return held

    def load(self, name: str, saved: Any, depth: int) -> list[list[float]]:
        if not isinstance(saved, list) or not saved or not all(isinstance(row, list) and row for row in saved):
            raise ValueError(f"{name} must be a list of lists of numbers")
        if len({len(row) for row in saved}) > 1 or len(saved) * len(saved[0]) > MAX_VALUES:
            raise ValueError(f"{name} must have rows of equal length and at most {MAX_VALUES} values")
        if not all(type(number) in (int, float) and abs(number) <= 2.0**64 for row in saved for number in row):
            raise ValueError(f"{name} must hold numbers of moderate size")
        return saved

    def show(self, value: HostArray) -> str:
        return str(value.values.tolist()) if value.values.size <= SHOWN // 2 else str(value)

    def _json(self, value: HostArray) -> list[list[float]]:
        return value.values.tolist()


class Operator(Kind):
    """Another operator."""

    def take(self, name: str, value: Any) -> LinearOperator:
        from .base import LinearOperator

        if not isinstance(value, LinearOperator):
            raise TypeError(f"{name} must be an operator, not {value!r:.80}")
        return value

    def load(self, name: str, saved: Any, depth: int) -> LinearOperator:
        from .saved import read

        return read(saved, depth - 1)

    def save(self, name: str, value: LinearOperator) -> Config:
        return value.to_dict()


class Operators(Kind):
    """Two or more operators, each an argument of its own; up to 16 in a saved form."""

    def take(self, name: str, value: Iterable[Any]) -> tuple[LinearOperator, ...]:
        return tuple(Operator().take(name, each) for each in value)

    def show(self, value: tuple[LinearOperator, ...]) -> str:
        return ", ".join(map(repr, value))

    def load(self, name: str, saved: Any, depth: int) -> list[LinearOperator]:
        if not isinstance(saved, list | tuple) or not 2 <= len(saved) <= 16:
            raise ValueError(f"{name} must be a list of 2 to 16 operators")
        return [Operator().load(name, each, depth) for each in saved]

    def save(self, name: str, value: tuple[LinearOperator, ...]) -> list[Config]:
        if len(value) > 16:
            raise ValueError(f"{name} must be 2 to 16 operators to be saved, not {len(value)}")
        return [each.to_dict() for each in value]


def holds(kind: Kind, *, key: str | None = None, none: str | None = None, named: bool = False) -> dict[str, Any]:
    """The metadata of a dataclass field of `kind`.

    `key` is its name in saved forms and messages, where that is not the field's own. `none` lets it be None: saved as
    "null", or "left out". A repr writes `named` fields with their name.
    """
    return {"kind": kind, "key": key, "none": none, "named": named}


@dataclasses.dataclass(frozen=True)
class Declared:
    """A declared field of an operator class."""

    name: str  # of the attribute
    key: str  # in saved forms
    kind: Kind
    none: str | None
    named: bool
    by_keyword: bool

    @classmethod
    def of(cls, kind: type) -> tuple[Declared, ...]:
        """The declared fields of an operator class, in the order of its constructor's arguments."""
        if kind not in _declared:
            fields = dataclasses.fields(kind) if dataclasses.is_dataclass(kind) else ()
            _declared[kind] = tuple(
                cls(f.name, m["key"] or f.name.lstrip("_"), m["kind"], m["none"], m["named"], bool(f.kw_only))
                for f in fields
                if "kind" in (m := f.metadata)
            )
        return _declared[kind]


_declared: dict[type, tuple[Declared, ...]] = {}  # torch.compile, which can look up what is there, cannot derive it


def _two(name: str, value: Any) -> tuple[Any, Any]:
    if not isinstance(value, tuple | list):
        return value, value
    if len(value) != 2:
        raise ValueError(f"{name} must be one number, or two for height and width, not {value!r}")
    return value[0], value[1]


def _ratio(name: str, value: Any) -> Fraction:
    if isinstance(value, bool) or not isinstance(value, Rational):
        raise TypeError(f"{name} must be an int or a fractions.Fraction such as Fraction(4, 3), not {value!r}")
    if value <= 0:
        raise ValueError(f"{name} must be more than 0, not {value}")
    return Fraction(value)
