"""The one error that the command line shows as a refusal: the user can act on its message."""

from __future__ import annotations


class Refusal(ValueError):
    """A request that is declined with a reason and a way out; the command line exits with 2."""
