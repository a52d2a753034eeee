"""Whatever a file-system call does, a sheet folder stays usable, and the same command makes the same bytes of it.

Every call of a command is made to fail in turn, as SQLite's crash tests do: the process dies there (nothing after it
happens, half of what was being written is there), or the call fails with an error of the system.
"""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from commutant.commutator.atomic import TEMPORARY
from commutant.integrations import cli
from commutant.integrations.cli import finish as finishing
from commutant.integrations.cli import info, preview
from commutant.integrations.cli import refine as refining
from commutant.integrations.cli import transform as transforming
from commutant.integrations.sheets.folder import SheetFolder

from .fakes import CALL, FakePreviewer, record

Command = Callable[[Path], int]
CALLS = ("open", "replace", "unlink", "fsync", "mkdir", "fdopen")


class Died(BaseException):
    """The process is gone: no handler of its own may catch this."""


class Disk:
    """Counts the file-system calls of `os` below a folder; from call `at` on, fails as it was told."""

    def __init__(self, patch: pytest.MonkeyPatch, at: int | None = None, error: int | None = None) -> None:
        self.count, self.at, self.error = 0, at, error
        for name in CALLS:
            patch.setattr(os, name, self._watched(name, getattr(os, name)))

    def _watched(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def watched(*arguments: Any, **settings: Any) -> Any:
            if name == "fdopen" and "w" in arguments[1]:
                return _File(self, call(*arguments, **settings))
            if name == "open" and os.fspath(arguments[0]) == os.devnull:
                return call(*arguments, **settings)
            self.step()
            return call(*arguments, **settings)

        return watched

    def step(self) -> None:
        self.count += 1
        if self.at is None or self.count <= self.at:
            return
        if self.error is None:
            raise Died
        if self.count == self.at + 1:
            raise OSError(self.error, os.strerror(self.error))


class _File:
    """A file whose write leaves half of the data when it fails."""

    def __init__(self, disk: Disk, file: Any) -> None:
        self._disk, self._file = disk, file

    def __enter__(self) -> _File:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def write(self, data: bytes) -> None:
        try:
            self._disk.step()
        except BaseException:
            self._file.write(data[: len(data) // 2])
            self._file.flush()
            raise
        self._file.write(data)

    def flush(self) -> None:
        self._file.flush()

    def fileno(self) -> int:
        return int(self._file.fileno())


def make(folder: Path) -> int:
    return preview.fill(FakePreviewer(), record(), [0, 1], str(folder), quiet=True)


def extend(folder: Path) -> int:
    return preview.fill(FakePreviewer(), record(), [0, 1, 2], str(folder), quiet=True)


def overwrite(folder: Path) -> int:
    other = record(call={**CALL, "prompt": "a dog"})
    return preview.fill(FakePreviewer(), other, [0, 1], str(folder), overwrite=True, quiet=True)


def finish(folder: Path) -> int:
    return cli.main(["finish", str(folder), "--all", "--quiet"])


def transform(folder: Path) -> int:
    return cli.main(["transform", str(folder), "--all", "--flip", "h", "--quiet"])


def refine(folder: Path) -> int:
    return cli.main(["refine", str(folder), "--all", "--switch", "3", "--quiet"])


COMMANDS: dict[str, tuple[list[Command], Command]] = {
    "preview": ([], make),
    "preview more": ([make], extend),
    "overwrite": ([make, finish], overwrite),
    "refine": ([make], refine),
    "refine twice, then finish": ([make, refine], finish),
    "finish": ([make], finish),
    "transform": ([make, finish], transform),
}


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands without a model and without drawing letters, which takes most of the time."""
    for module in (finishing, refining, transforming):
        monkeypatch.setattr(module, "previewer_of", lambda *_: FakePreviewer())
    from PIL import Image

    monkeypatch.setattr("commutant.integrations.sheets.views.contact_sheet", lambda *_: Image.new("RGB", (8, 8)))
    monkeypatch.setattr(os, "fsync", lambda _: None)  # counted all the same
    monkeypatch.delenv("COMMUTANT_DEBUG", raising=False)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def prepared(folder: Path, before: list[Command]) -> Path:
    """The folder as the commands before leave it: made once, then copied."""
    kept = folder.with_name("kept")
    if before and not kept.exists():
        for command in before:
            assert command(folder) == 0
        folder.rename(kept)
    shutil.rmtree(folder, ignore_errors=True)
    if before:
        shutil.copytree(kept, folder)
    return folder


def expected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> tuple[dict[str, bytes], int]:
    """What the undisturbed command leaves, and how many file-system calls it makes."""
    before, command = COMMANDS[name]
    folder = prepared(tmp_path / "sheet", before)
    with monkeypatch.context() as patch:
        disk = Disk(patch)
        assert command(folder) == 0
    return contents(folder), disk.count


@pytest.mark.parametrize("name", COMMANDS)
def test_death_at_every_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    before, command = COMMANDS[name]
    whole, calls = expected(tmp_path, monkeypatch, name)
    assert calls > 10
    for at in range(calls):
        folder = prepared(tmp_path / "sheet", before)
        with monkeypatch.context() as patch:
            Disk(patch, at)
            with pytest.raises(Died):
                command(folder)
        assert command(folder) == 0, f"the same command goes on after a death at call {at}"
        assert contents(folder) == whole, f"after a death at call {at} of {calls}"


ERRORS = [errno.ENOSPC, *(pytest.param(e, marks=pytest.mark.slow) for e in (errno.EIO, errno.EACCES))]


@pytest.mark.parametrize("error", ERRORS, ids=errno.errorcode.get)
@pytest.mark.parametrize("name", COMMANDS)
def test_an_error_at_every_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str, error: int
) -> None:
    """One failing call is an exit code and a message, and leaves a folder that the same command goes on with."""
    before, command = COMMANDS[name]
    whole, calls = expected(tmp_path, monkeypatch, name)
    for at in range(calls):
        folder = prepared(tmp_path / "sheet", before)
        capsys.readouterr()
        with monkeypatch.context() as patch:
            Disk(patch, at, error)
            code = run(command, folder)
        said = capsys.readouterr().err
        if code != 0:
            assert code == 1, f"call {at}: {said}"
            assert os.strerror(error) in said
            assert "Traceback" not in said
        left = [p.name for p in folder.iterdir() if TEMPORARY.fullmatch(p.name)] if folder.exists() else []
        # One of these calls is the removal of a temporary file itself, after which it stays until the next run.
        assert len(left) <= 1
        assert command(folder) == 0
        assert contents(folder) == whole, f"after an error at call {at} of {calls}"


def run(command: Command, folder: Path) -> int:
    """A command as `main` runs it, whatever it calls inside."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(info, "run", lambda _: command(folder))
        return cli.main(["info", "x"])


def test_a_second_process_between_check_and_writing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What another process makes in the folder after it was looked at is kept, not removed."""
    look = SheetFolder.check
    folder = tmp_path / "sheet"
    looks = []

    def first_look(*arguments: Any) -> Any:
        found = look(*arguments)
        looks.append(found)
        if len(looks) == 2:  # fill looked, create looks: now the other one is faster
            assert make(folder) == 0
        return found

    monkeypatch.setattr(SheetFolder, "check", staticmethod(first_look))
    assert preview.fill(FakePreviewer(), record(), [5], str(folder), quiet=True) == 0
    assert SheetFolder.open(folder).ready() == (0, 1, 5)


def test_a_preview_does_not_go_into_a_sheet_that_was_replaced(tmp_path: Path) -> None:
    folder = tmp_path / "sheet"
    make(folder)
    there = SheetFolder.open(folder)
    overwrite(folder)
    (item,) = FakePreviewer().stream(**{**CALL, "seeds": [7], "plan": record().plan})
    with pytest.raises(ValueError, match="another call"):
        there.add(item)
    assert SheetFolder.open(folder).ready() == (0, 1)


def test_what_fails_while_redrawing_does_not_hide_the_first_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("commutant.integrations.sheets.views.write_views", full)
    failing = FakePreviewer(stop_at=1, error=RuntimeError("card fell out"))
    with pytest.raises(RuntimeError, match="card fell out"):
        preview.fill(failing, record(), [0, 1], str(tmp_path / "sheet"), quiet=True)
    assert "were not redrawn: [Errno 28]" in capsys.readouterr().err


WAITING = """
import os, sys, time
from commutant.integrations import cli
from commutant.integrations.cli import info, preview
from commutant.tests.cli.fakes import FakePreviewer, record

def slow(handle):
    print("writing", flush=True)
    time.sleep(30)
os.fsync = slow
info.run = lambda _: preview.fill(FakePreviewer(), record(), [0, 1], sys.argv[1], quiet=True)
sys.exit(cli.main(["info", "x"]))
"""


@pytest.fixture
def waiting(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", WAITING, str(tmp_path / "sheet")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "writing\n"
        yield process
        process.kill()


@pytest.mark.skipif(os.name == "nt", reason="these are signals of POSIX")
@pytest.mark.parametrize(("kind", "code"), [("SIGINT", 130), ("SIGTERM", 143), ("SIGHUP", 129)])
def test_signals_leave_no_temporary_file(tmp_path: Path, waiting: subprocess.Popen[str], kind: str, code: int) -> None:
    """Sent while a file is being written."""
    waiting.send_signal(getattr(signal, kind))
    assert waiting.wait(timeout=20) == code
    assert [p.name for p in (tmp_path / "sheet").iterdir() if p.name.startswith(".")] == []
    assert make(tmp_path / "sheet") == 0
