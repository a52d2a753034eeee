"""Every error that this package raises on purpose, as one family. Imports nothing.

`CommutantError` catches all of them. Each also is the built-in error that it resembles, so that code which knows
nothing of this package catches it where it would catch that one.
"""

from __future__ import annotations


class CommutantError(Exception):
    """Anything that is said on purpose: the message gives the reason, and what to do."""


class Refusal(CommutantError, ValueError):
    """Declined by name before anything is computed; the message gives the reason and a way out."""


class UnsupportedError(Refusal):
    """A pipeline, sampler, plan or argument that cannot be driven: the message names the nearest one that can."""


class TapeError(Refusal):
    """A tape that cannot be used: malformed, changed, truncated, or of another model. The message says which."""


class SheetError(Refusal):
    """A sheet folder that cannot be used as asked; the message says why and what to do."""


class NonFiniteError(CommutantError, ArithmeticError):
    """The model answered with infinities or not-a-numbers: the message gives the evaluation and the usual causes."""


class BusyError(CommutantError, RuntimeError):
    """The pipeline is in the middle of a run: the message says whose, and what to do."""


class MissingInstall(CommutantError, RuntimeError):
    """A library that a command needs is not there, or does not import."""


class Interrupted(CommutantError):
    """A callback stopped the run (`pipe._interrupt`): what was ready is kept, and the same call goes on from there."""
