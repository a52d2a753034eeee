"""The tests run in a checkout of any name, and the modules of Python that are called like it stay what they are."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TEST = """
import copy, calendar
from commutant.tests import support_table
from . import helper


def test_standard_modules_are_the_real_ones():
    assert helper.WORD == "found"
    assert copy.copy([1]) == [1] and calendar.isleap(2000)
"""


@pytest.fixture
def checkout(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """A folder of that name with our settings, our conftest and one test."""
    folder = tmp_path / request.param
    (folder / "tests" / "part").mkdir(parents=True)
    for name in ("__init__.py", "pyproject.toml", "tests/__init__.py", "tests/conftest.py", "tests/support_table.py"):
        (folder / name).write_text((ROOT / name).read_text())
    (folder / "tests" / "part" / "__init__.py").touch()
    (folder / "tests" / "part" / "helper.py").write_text("WORD = 'found'\n")
    (folder / "tests" / "part" / "test_part.py").write_text(TEST)
    return folder


def pytest_in(folder: Path) -> subprocess.CompletedProcess[str]:
    # `pytest` and not `python -m pytest`: the working folder is not on the path.
    command = [sys.executable, "-c", "import sys, pytest; sys.exit(pytest.main(['-p', 'no:cacheprovider']))"]
    paths = [str(Path(p).absolute()) for p in os.environ.get("PYTHONPATH", "").split(os.pathsep) if p]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PYTHONSAFEPATH": "1"}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


@pytest.mark.parametrize("checkout", ["calendar", "copy", "commutant", "a-copy.2", "work"], indirect=True)
def test_pytest_runs_in_a_checkout_called(checkout: Path) -> None:
    done = pytest_in(checkout)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("checkout", ["calendar"], indirect=True)
def test_the_check_notices_a_conftest_that_keeps_the_name(checkout: Path) -> None:
    conftest = checkout / "tests" / "conftest.py"
    conftest.write_text(conftest.read_text().replace("    del sys.modules[_FOLDER]", "    pass"))
    assert pytest_in(checkout).returncode != 0
