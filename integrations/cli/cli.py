"""The command line, `commutant COMMAND`. Imports no framework until a command needs one."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from typing import Any, NoReturn

from ... import __version__
from ...errors import MissingInstall, Refusal
from . import calibrate, compare, finish, info, preview, refine, transform
from .values import printable

EXIT_FAILURE, EXIT_REFUSAL, EXIT_INTERRUPTED = 1, 2, 130


class _Parser(argparse.ArgumentParser):
    """argparse with errors on one line, and no abbreviated options: a new option must not change an old script."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**{"allow_abbrev": False, **settings})

    def error(self, message: str) -> NoReturn:
        self.exit(EXIT_REFUSAL, f"commutant: {message} (see {self.prog} --help)\n")


def parser() -> argparse.ArgumentParser:
    """The parser of the whole command line."""
    p = _Parser(
        prog="commutant",
        description="Cheap previews that look like the high-resolution image of the same seed; finish those you pick.",
        epilog="Set COMMUTANT_DEBUG=1 to see where an error came from.",
    )
    p.add_argument("--version", action="version", version=f"commutant {__version__}")
    commands = p.add_subparsers(title="commands", metavar="COMMAND", required=True, parser_class=_Parser)
    for command in (preview, refine, finish, transform, info, compare, calibrate):
        command.add(commands)
    return p


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line; returns its exit code: 0, 1 failure, 2 misuse or refusal, 130 Ctrl-C, or
    128 and the signal's number."""
    with _signals_as_interrupts() as signals:
        code = _run(argv)
    return 128 + signals[0] if signals and code == EXIT_INTERRUPTED else code


def _run(argv: Sequence[str] | None) -> int:
    arguments = parser().parse_args(argv)
    try:
        return int(arguments.run(arguments))
    except KeyboardInterrupt:
        return _told("stopped", EXIT_INTERRUPTED)
    except BrokenPipeError:
        # The reader went away (`commutant info sheet | head`); python would complain again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_FAILURE
    except Exception as error:
        if os.environ.get("COMMUTANT_DEBUG") == "1":
            raise
        return _told(_one_line(error), EXIT_REFUSAL if isinstance(error, Refusal) else EXIT_FAILURE)


@contextlib.contextmanager
def _signals_as_interrupts() -> Iterator[list[int]]:
    """SIGTERM and a closed terminal end a command as Ctrl-C does, with its files in order; yields those that came."""
    came: list[int] = []

    def stop(number: int, _: object) -> None:
        came.append(number)
        raise KeyboardInterrupt

    kinds = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    here = threading.current_thread() is threading.main_thread()
    # Only where nobody decided otherwise: nohup ignores SIGHUP, and a program that calls us may have its own.
    taken = [kind for kind in kinds if here and signal.getsignal(kind) is signal.SIG_DFL]
    for kind in taken:
        signal.signal(kind, stop)
    try:
        yield came
    finally:
        for kind in taken:
            signal.signal(kind, signal.SIG_DFL)


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split())
    if _is_out_of_memory(error):
        return f"out of memory; try --batch 1, a smaller --size or a larger --scale ({text})"
    if isinstance(error, (Refusal, OSError, MissingInstall)):
        return text or type(error).__name__
    return f"{type(error).__name__}: {text} (COMMUTANT_DEBUG=1 shows where)"


def _is_out_of_memory(error: Exception) -> bool:
    # torch has an error of its own for accelerators, and a RuntimeError of its allocator for the CPU.
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and "DefaultCPUAllocator" in str(error)


def _told(message: str, code: int) -> int:
    print(f"commutant: {printable(message)}", file=sys.stderr)
    return code
