"""What this adapter says when it will not or cannot go on."""

from ..errors import NonFiniteError as NonFiniteError
from ..errors import UnsupportedError as UnsupportedError
from ..errors import require_finite as require_finite


class BusyError(RuntimeError):
    """The pipeline is in the middle of a run: the message says whose, and what to do."""


class InterruptedByUser(Exception):
    """The user's callback set `pipe._interrupt`; carries nothing, the sheet keeps what was ready."""
