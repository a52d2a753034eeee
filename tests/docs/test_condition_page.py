"""Every Python block of docs/condition.md runs, in order; the blocks assert what the page says of them."""

from __future__ import annotations

import re
from typing import Any

import pytest

from .test_documentation import ROOT, blocks

PAGE = ROOT / "docs" / "condition.md"


def run(parts: list[str]) -> None:
    space: dict[str, Any] = {}
    for part in parts:
        exec(part, space)


def test_the_page_runs(capsys: pytest.CaptureFixture[str]) -> None:
    parts = blocks(PAGE, "python")
    assert len(parts) == 5
    run(parts)
    assert "BlockMean(2), 12 samples" in capsys.readouterr().out


def test_a_wrong_page_does_not() -> None:
    parts = blocks(PAGE, "python")
    wrong = [part.replace("bound[-1] *", "0.01 * bound[-1] *") for part in parts]
    assert wrong != parts
    with pytest.raises(AssertionError):
        run(wrong)


def test_the_tests_it_names_exist() -> None:
    named = set(re.findall(r"test_\w+\.py", PAGE.read_text()))
    assert len(named) >= 4
    assert not {name for name in named if not (ROOT / "tests" / "commutator" / name).exists()}
