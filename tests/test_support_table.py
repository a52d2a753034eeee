"""The page of support tables: written as seen, read back, and a run that sees something else fails."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import commutant

from .support_table import PAGE, Cell, Support, differences, parsed, rendered


class UnsupportedError(ValueError):
    """Stands for any adapter's."""


def filled() -> Support:
    support = Support()
    for row in ("Flux", "Wan"):
        with support.cell("Pipelines", row, "preview"):
            pass
        with support.cell("Pipelines", row, "transform"):
            raise UnsupportedError("no grid:\n  try | another")
    support.not_tested("More", "LoRA", "finish", "no peft")
    support.not_tested("More", "offload", "preview", "no peft")
    return support


def test_a_page_says_what_was_seen() -> None:
    support = filled()
    assert support.cells["Pipelines", "Wan", "transform"] == Cell("refused", "no grid: try | another")
    page = rendered(support.cells, "head")
    assert "| Wan | worked | refused[^1] |" in page
    assert "| offload | - | not tested[^2] |" in page
    assert page.count("no grid") == 1
    assert parsed(page) == support.cells
    assert list(parsed(page)) == list(support.cells)
    assert differences(support.cells, parsed(page)) == []


def test_other_exceptions_pass_and_leave_no_cell() -> None:
    support = Support()
    with pytest.raises(AssertionError), support.cell("t", "r", "c"):
        raise AssertionError
    with pytest.raises(ValueError, match="plain"), support.cell("t", "r", "c"):
        raise ValueError("plain")
    assert support.cells == {}


def test_a_cell_has_one_state() -> None:
    support = filled()
    with support.cell("Pipelines", "Flux", "preview"):
        pass
    with (
        pytest.raises(AssertionError, match="worked before, and now refused"),
        support.cell("Pipelines", "Flux", "preview"),
    ):
        raise UnsupportedError("now")
    with pytest.raises(ValueError, match="name"):
        support.not_tested("t", "a|b", "c", "why")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("| Flux | worked", "| Flux | refused[^1]"),
        ("try | another", "another reason"),
        ("| Wan |", "| Won |"),
        ("refused[^1] |\n| Wan", "- |\n| Wan"),
    ],
)
def test_a_wrong_cell_is_noticed(old: str, new: str) -> None:
    page = rendered(filled().cells, "head")
    assert old in page
    assert differences(filled().cells, parsed(page.replace(old, new)))
    with pytest.raises(ValueError, match="no cell"):
        parsed(page.replace("| worked |", "| perhaps |"))
    with pytest.raises(ValueError, match="no cell"):
        parsed(page.replace("refused[^1]", "refused[^9]"))


TESTS = """
import pytest
def test_one(support):
    with support.cell("Pipelines", "Flux", "preview"):
        pass
@pytest.mark.slow
def test_two(support):
    support.not_tested("Pipelines", "Flux", "finish", "why not")
"""


def test_a_session_writes_the_page_and_fails_on_another(tmp_path: Path) -> None:
    hooks = "pytest_addoption, pytest_configure, pytest_sessionfinish, pytest_terminal_summary, support"
    (tmp_path / "docs").mkdir()
    (tmp_path / "conftest.py").write_text(f"from commutant.tests.support_table import {hooks}\n")
    (tmp_path / "test_it.py").write_text(TESTS)
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = slow\naddopts = -m 'not slow' -p no:cacheprovider\n")
    page = tmp_path / PAGE
    # The package may be found through a relative path, which means nothing in another folder.
    found = [str(Path(commutant.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    env = os.environ | {"PYTHONPATH": os.pathsep.join(found), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}

    def session(*arguments: str) -> tuple[int, str]:
        command = [sys.executable, "-m", "pytest", *arguments]
        done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout

    assert session()[0] == 1  # no page yet
    assert session("--support-write", PAGE)[0] == 0
    assert set(parsed(page.read_text())) == {("Pipelines", "Flux", c) for c in ("preview", "finish")}
    assert session()[0] == 0
    wrong = page.read_text().replace("| worked |", "| refused[^1] |")
    page.write_text(wrong)
    code, shown = session()
    assert code == 1
    assert "the tests saw worked, the page says refused (why not)" in shown
    assert session("-m", "slow")[0] == 0  # the wrong cell did not run
    assert session("--support-write", PAGE, "-k", "two")[0] == 0
    assert "| refused[^1] |" in page.read_text()  # nor was it replaced
    assert session("--support-write", PAGE, "test_it.py")[0] == 0
    assert parsed(page.read_text())["Pipelines", "Flux", "preview"] == Cell("worked")
    (tmp_path / "test_it.py").write_text(TESTS + "def test_three():\n    assert False\n")
    before = page.read_text()
    assert session("--support-write", PAGE)[0] == 1
    assert page.read_text() == before
