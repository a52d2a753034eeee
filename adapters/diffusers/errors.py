"""What an adapter says when it will not or cannot go on."""


class UnsupportedError(ValueError):
    """Refused by name before any model evaluation: the message gives the reason and the nearest way out."""


class InterruptedByUser(Exception):
    """The user's callback set `pipe._interrupt`; carries nothing, the sheet keeps what was ready."""
