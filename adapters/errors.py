"""What an adapter says when it will not go on."""


class UnsupportedError(ValueError):
    """Refused by name before any model evaluation: the message gives the reason and the nearest way out."""
