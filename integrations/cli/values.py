"""Command-line values: what people type, or one line on what is wrong with it; and what a terminal is shown."""

from __future__ import annotations

import json
import math
import re
from argparse import ArgumentTypeError
from fractions import Fraction
from typing import Any

MOST_SEEDS = 10_000
MOST_STEPS = 10_000  # as in a plan
_DEEPEST = 20
_LARGEST_SEED = 2**63 - 1
# What the sheet itself decides, or what cannot be repeated from a JSON file.
RESERVED = (
    "self",
    "prompt",
    "height",
    "width",
    "num_inference_steps",
    "generator",
    "latents",
    "output_type",
    "return_dict",
)


def printable(text: str) -> str:
    """Text for a terminal: what may come from elsewhere sends it no control characters."""
    return "".join(c if c.isprintable() else " " for c in text)


def seeds(text: str) -> list[int]:
    """ "0-3,8" -> [0, 1, 2, 3, 8]; the order is kept and repeats are dropped."""
    found: dict[int, None] = {}
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d{1,20})(?:\s*-\s*(\d{1,20}))?\s*", part, re.ASCII)
        if match is None:
            raise ArgumentTypeError(f"{text!r}: seeds are whole numbers and ranges, like 0-7 or 3,5,9 or 0-3,8")
        first = int(match[1])
        last = first if match[2] is None else int(match[2])
        if last < first:
            raise ArgumentTypeError(f"{text!r}: the range {first}-{last} runs backwards")
        if last > _LARGEST_SEED:
            raise ArgumentTypeError(f"{text!r}: the largest seed is {_LARGEST_SEED}")
        if last - first >= MOST_SEEDS or len(found) + last - first >= MOST_SEEDS:
            raise ArgumentTypeError(f"{text!r}: more than {MOST_SEEDS} seeds on one sheet")
        found |= dict.fromkeys(range(first, last + 1))
    return list(found)


def size(text: str) -> tuple[int, int]:
    """ "1024x768" -> (1024, 768), width first; "512" is square."""
    match = re.fullmatch(r"\s*(\d{1,5})(?:\s*[xX]\s*(\d{1,5}))?\s*", text, re.ASCII)
    if match is None or int(match[1]) < 1 or int(match[2] or 1) < 1:
        raise ArgumentTypeError(
            f"{text!r}: a size is WIDTHxHEIGHT in pixels, like 1024x768, or one number for a square"
        )
    width = int(match[1])
    return width, int(match[2] or width)


def scale(text: str) -> Fraction:
    """ "2", "4/3" or "1.5": high over low resolution."""
    try:
        if not re.fullmatch(r"\s*\d{1,4}(/\d{1,4}|\.\d{0,4})?\s*", text, re.ASCII):
            raise ValueError
        value = Fraction(text)
    except (ValueError, ZeroDivisionError):
        raise ArgumentTypeError(f"{text!r}: a scale is a number above 1, like 2 or 4/3 or 1.5") from None
    if not 1 < value <= 16:
        raise ArgumentTypeError(f"{text!r}: a scale lies above 1 (previews are smaller) and at most at 16")
    return value


def count(least: int, most: int = 999_999_999) -> Any:
    """A parser of whole numbers from `least` to `most`."""

    def parse(text: str) -> int:
        if not re.fullmatch(r"\s*\d{1,9}\s*", text, re.ASCII) or int(text) < least:
            raise ArgumentTypeError(f"{text!r}: expected a whole number, {least} or more")
        if int(text) > most:
            raise ArgumentTypeError(f"{text!r}: the largest number here is {most}")
        return int(text)

    return parse


def utf8(text: str) -> str:
    """Text that can be written to a file; bytes of the command line that are no text are refused."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise ArgumentTypeError(f"{text!r:.200} holds bytes that are no UTF-8 text") from None
    return text


def number(text: str) -> float:
    """A finite number."""
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not abs(value) < float("inf"):
        raise ArgumentTypeError(f"{text!r}: expected a number")
    return value


def displacement(text: str) -> tuple[int, int]:
    """ "32,-16" -> (32, -16): pixels to the right and down; one number moves to the right only."""
    match = re.fullmatch(r"\s*([+-]?\d{1,6})(?:\s*,\s*([+-]?\d{1,6}))?\s*", text, re.ASCII)
    if match is None:
        raise ArgumentTypeError(f"{text!r}: a displacement is DX,DY in whole pixels, like 32,0 (=-32,0 to the left)")
    return int(match[1]), int(match[2] or 0)


def factor(text: str) -> float:
    """A magnification between 1/16 and 16."""
    value = number(text)
    if not 1 / 16 <= value <= 16:
        raise ArgumentTypeError(f"{text!r}: a zoom factor lies between 1/16 and 16")
    return value


def device(text: str) -> str:
    """ "auto", "cpu", "mps", "cuda" or one card of several, "cuda:1"."""
    if not re.fullmatch(r"auto|cpu|mps|cuda(:\d{1,3})?", text):
        raise ArgumentTypeError(f"{text!r}: a device is auto, cpu, mps, cuda or cuda:1")
    return text


def argument(text: str) -> tuple[str, Any]:
    """ "max_sequence_length=256" -> ("max_sequence_length", 256). What is no JSON is taken as text."""
    name, equals, value = text.partition("=")
    if not equals or not name.isidentifier():
        raise ArgumentTypeError(f"{text!r}: expected NAME=VALUE")
    if name in RESERVED or name.startswith("callback"):
        raise ArgumentTypeError(f"{text!r}: {name} cannot be set here")
    utf8(text)
    try:
        found = json.loads(value, parse_constant=_no_constant)
    except RecursionError:
        raise ArgumentTypeError(f"{name}: lists and objects are nested at most {_DEEPEST} deep") from None
    except ValueError:
        return name, value
    check_json(found, name)
    return name, found


def check_json(value: Any, name: str, depth: int = _DEEPEST) -> None:
    """ArgumentTypeError for what JSON can say and a sheet cannot repeat: 1e309, and nesting beyond any argument's."""
    if depth == 0:
        raise ArgumentTypeError(f"{name}: lists and objects are nested at most {_DEEPEST} deep")
    if isinstance(value, float) and not math.isfinite(value):
        raise ArgumentTypeError(f"{name}: a number is too large")
    if isinstance(value, str):
        utf8(value)
    for entry in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        check_json(entry, name, depth - 1)


def _no_constant(name: str) -> Any:
    raise ValueError(name)
