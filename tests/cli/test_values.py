"""Command-line values: what people type, and what they mistype."""

from argparse import ArgumentTypeError
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from commutant.integrations.cli import values
from commutant.integrations.sheets.record import ranges

SEEDS = st.lists(st.integers(0, 10**6), min_size=1, max_size=30, unique=True)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0-7", list(range(8))),
        ("3,5,9", [3, 5, 9]),
        ("0-3,8", [0, 1, 2, 3, 8]),
        (" 4 - 5 , 4", [4, 5]),
        ("9,1", [9, 1]),
    ],
)
def test_seeds(text: str, expected: list[int]) -> None:
    assert values.seeds(text) == expected


@pytest.mark.parametrize("text", ["", "a", "3-", "-3", "7-0", "1,,2", "1.5", "0-99999", "99999999999999999999", "٣"])
def test_bad_seeds(text: str) -> None:
    with pytest.raises(ArgumentTypeError):
        values.seeds(text)


@given(SEEDS)
def test_ranges_are_read_back(seeds: list[int]) -> None:
    assert values.seeds(ranges(seeds).replace(" ", "")) == sorted(seeds)


@given(st.integers(1, 99999), st.integers(1, 99999))
def test_size_is_width_by_height(width: int, height: int) -> None:
    assert values.size(f"{width}x{height}") == (width, height)
    assert values.size(str(width)) == (width, width)


@pytest.mark.parametrize("text", ["", "x", "64x", "x64", "0x64", "64x0", "-1x2", "1e3", "64x64x64", "640000x1"])
def test_bad_size(text: str) -> None:
    with pytest.raises(ArgumentTypeError):
        values.size(text)


@given(st.fractions(Fraction(11, 10), 16, max_denominator=60))
def test_scale(scale: Fraction) -> None:
    assert values.scale(str(scale)) == scale


@pytest.mark.parametrize(("text", "expected"), [("2", Fraction(2)), ("4/3", Fraction(4, 3)), ("1.5", Fraction(3, 2))])
def test_scale_forms(text: str, expected: Fraction) -> None:
    assert values.scale(text) == expected


@pytest.mark.parametrize("text", ["", "1", "0.5", "17", "1/0", "2x", "-2", "inf", "nan", "1e1"])
def test_bad_scale(text: str) -> None:
    with pytest.raises(ArgumentTypeError):
        values.scale(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a=1", ("a", 1)),
        ("a=true", ("a", True)),
        ("a=red fox", ("a", "red fox")),
        ("a=", ("a", "")),
        ("a=NaN", ("a", "NaN")),
    ],
)
def test_argument(text: str, expected: tuple[str, object]) -> None:
    assert values.argument(text) == expected


@pytest.mark.parametrize("text", ["a", "=1", "a b=1", "generator=1", "prompt=x", "callback_on_step_end=1"])
def test_bad_argument(text: str) -> None:
    with pytest.raises(ArgumentTypeError):
        values.argument(text)


@pytest.mark.parametrize("text", ["nan", "inf", "x", ""])
def test_bad_number(text: str) -> None:
    with pytest.raises(ArgumentTypeError):
        values.number(text)


@pytest.mark.parametrize("text", ["gpu", "cuda:", "cuda:x", "cpu:0", "CPU"])
def test_bad_device(text: str) -> None:
    with pytest.raises(ArgumentTypeError):
        values.device(text)
