"""The command line, one command a file. Each has `add(subparsers)` and `run(arguments) -> exit code`."""

from .cli import main, parser

__all__ = ["main", "parser"]
