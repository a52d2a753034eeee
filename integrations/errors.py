"""The one error that the command line shows as a refusal, and how text from elsewhere is shown."""

from __future__ import annotations


class Refusal(ValueError):
    """A request that is declined with a reason and a way out; the command line exits with 2."""


def printable(text: str) -> str:
    """Text for a terminal: what may come from elsewhere sends it no control characters."""
    return "".join(c if c.isprintable() else " " for c in text)
