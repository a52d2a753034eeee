"""The command line, `commutant COMMAND`. Imports no framework until a command needs one."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from .. import __version__
from .commands import calibrate, compare, finish, info, preview, transform
from .errors import Refusal

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
    for command in (preview, finish, transform, info, compare, calibrate):
        command.add(commands)
    return p


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line; returns its exit code: 0, 1 failure, 2 misuse or refusal, 130 Ctrl-C."""
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
        return _told(_one_line(error), EXIT_REFUSAL if _is_refusal(error) else EXIT_FAILURE)


def _is_refusal(error: Exception) -> bool:
    if isinstance(error, Refusal):
        return True
    # By what is imported already: these errors cannot have been raised otherwise.
    kinds: list[Any] = []
    for module, name in (("adapters.diffusers", "UnsupportedError"), ("commutator.tape", "TapeError")):
        loaded = sys.modules.get(f"{__package__.rpartition('.')[0]}.{module}")
        kinds += [getattr(loaded, name)] if hasattr(loaded, name) else []
    return isinstance(error, tuple(kinds))


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split())
    if type(error).__name__ == "OutOfMemoryError":
        return f"out of memory; try --batch 1, a smaller --size or a larger --scale ({text})"
    if isinstance(error, (Refusal, OSError)) or _is_refusal(error) or type(error).__name__ == "MissingInstall":
        return text or type(error).__name__
    return f"{type(error).__name__}: {text} (COMMUTANT_DEBUG=1 shows where)"


def _told(message: str, code: int) -> int:
    print(f"commutant: {message}", file=sys.stderr)
    return code
