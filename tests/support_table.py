"""docs/support.md is written by the tests, and a test run that disagrees with it fails.

`pytest --support-write docs/support.md` runs everything, the slow tests included, and writes the page; with paths or
`-k` only the cells that ran are replaced. Any other run compares the cells it saw with the committed page.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import distributions
from pathlib import Path

import pytest

PAGE = "docs/support.md"
STATES = ("worked", "refused", "not tested")
EMPTY = "-"
PACKAGES = ("torch", "diffusers", "peft", "accelerate")
Key = tuple[str, str, str]  # table, row, column


@dataclass(frozen=True)
class Cell:
    """What a test found: a state, and the reason where it is not "worked"."""

    state: str
    reason: str = ""

    def __str__(self) -> str:
        return f"{self.state} ({self.reason})" if self.reason else self.state


@dataclass
class Support:
    """The cells that a test session filled, in the order in which tests registered them."""

    cells: dict[Key, Cell] = field(default_factory=dict)

    @contextmanager
    def cell(self, table: str, row: str, column: str) -> Iterator[None]:
        """The body asserts: the cell is "worked". An adapter's UnsupportedError in it makes the cell "refused".

        Whatever else the body raises passes through, and the cell stays empty.
        """
        try:
            yield
        except Exception as error:
            # By name: every adapter has its own UnsupportedError, and this file imports none of them.
            if "UnsupportedError" not in (base.__name__ for base in type(error).__mro__):
                raise
            # Without the name that the row has anyway, one reason stays one footnote.
            reason = " ".join(str(error).split()).removeprefix(f"{row} is not supported: ")
            self._fill((table, row, column), Cell("refused", reason))
        else:
            self._fill((table, row, column), Cell("worked"))

    def not_tested(self, table: str, row: str, column: str, why: str) -> None:
        """List something that no test covers, with the reason."""
        self._fill((table, row, column), Cell("not tested", " ".join(why.split())))

    def _fill(self, key: Key, cell: Cell) -> None:
        for name in key:
            if not name or name != name.strip() or set("|\n") & set(name):
                raise ValueError(f"{name!r} cannot be the name of a table, row or column")
        if self.cells.setdefault(key, cell) != cell:
            raise AssertionError(f"{' / '.join(key)}: {self.cells[key]} before, and now {cell}")


def rendered(cells: dict[Key, Cell], head: str) -> str:
    """The page: one table per name, reasons as numbered footnotes, equal reasons once."""
    notes: dict[str, int] = {}
    lines = ["# What the tests saw", "", head, ""]
    for table in dict.fromkeys(key[0] for key in cells):
        rows = dict.fromkeys(r for t, r, _ in cells if t == table)
        columns = dict.fromkeys(c for t, _, c in cells if t == table)
        lines += [f"## {table}", "", f"| | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
        for row in rows:
            texts = [_text(cells.get((table, row, column)), notes) for column in columns]
            lines.append(f"| {row} | {' | '.join(texts)} |")
        lines.append("")
    lines += [f"[^{number}]: {reason}" for reason, number in notes.items()]
    return "\n".join(lines).rstrip() + "\n"


def _text(cell: Cell | None, notes: dict[str, int]) -> str:
    if cell is None:
        return EMPTY
    return cell.state + (f"[^{notes.setdefault(cell.reason, len(notes) + 1)}]" if cell.reason else "")


def parsed(page: str) -> dict[Key, Cell]:
    """The cells of a page that `rendered` wrote. ValueError for a cell it would not write."""
    notes = dict(re.findall(r"^\[\^(\d+)\]: (.*)$", page, re.MULTILINE))
    cells: dict[Key, Cell] = {}
    for section in re.split(r"^## ", page, flags=re.MULTILINE)[1:]:
        table, *lines = section.splitlines()
        grid = [[part.strip() for part in line.split("|")[1:-1]] for line in lines if line.startswith("|")]
        for row, *texts in grid[2:]:
            for column, text in zip(grid[0][1:], texts):
                if text != EMPTY:
                    cells[table, row, column] = _cell(text, notes)
    return cells


def _cell(text: str, notes: dict[str, str]) -> Cell:
    found = re.fullmatch(rf"({'|'.join(STATES)})(?:\[\^(\d+)\])?", text)
    if found is None or (found[2] is not None and found[2] not in notes):
        raise ValueError(f"{text!r} is no cell of a support table")
    return Cell(found[1], notes[found[2]] if found[2] else "")


def differences(seen: dict[Key, Cell], page: dict[Key, Cell]) -> list[str]:
    """One line for each cell seen that the page has not, or has otherwise."""
    return [
        f"{' / '.join(key)}: the tests saw {cell}, the page says {page.get(key, 'nothing')}"
        for key, cell in seen.items()
        if page.get(key) != cell
    ]


def _head() -> str:
    found = {package.name: package.version for package in distributions()}
    installed = [f"{name} {found[name]}" for name in PACKAGES if name in found]
    return (
        f"Written by `pytest --support-write {PAGE}` on {datetime.date.today()} with {', '.join(installed)}. "
        "Every cell is a test: *worked* means its assertions held, *refused* that the request was refused by name "
        "before anything was computed, for the reason in the footnote, and *not tested* that nothing is known."
    )


_SEEN = pytest.StashKey[Support]()
_FAULTS = pytest.StashKey[list[str]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--support-write", metavar="PAGE", help=f"run slow tests too and write the page ({PAGE})")


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_SEEN] = Support()
    if config.getoption("--support-write"):
        config.option.markexpr = ""


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    seen, config = session.config.stash[_SEEN].cells, session.config
    if not seen:
        return
    target = config.getoption("--support-write")
    path = Path(config.rootpath, target or PAGE)
    page = parsed(path.read_text()) if path.exists() else {}
    if not target:
        faults = differences(seen, page)
    elif exitstatus != pytest.ExitCode.OK:
        faults = ["not written: tests failed"]
    else:
        faults = []
        path.write_text(rendered(seen if _whole(config) else page | seen, _head()))
    config.stash[_FAULTS] = faults
    if faults and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def _whole(config: pytest.Config) -> bool:
    narrowed = any(config.getoption(o, None) for o in ("keyword", "deselect", "lf", "ignore", "ignore_glob"))
    return config.args_source is not pytest.Config.ArgsSource.ARGS and not narrowed


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    faults = config.stash.get(_FAULTS, [])
    if faults:
        terminalreporter.section(f"{PAGE} does not say what the tests saw", red=True)
        terminalreporter.write("\n".join([*faults, f"to write what these tests see: --support-write {PAGE}", ""]))


@pytest.fixture(scope="session")
def support(pytestconfig: pytest.Config) -> Support:
    """Where a test says what it covers; see `Support.cell`."""
    return pytestconfig.stash[_SEEN]
