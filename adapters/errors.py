"""What an adapter says when it will not go on, and the one look at a model's answers that makes it say so."""

from __future__ import annotations

from typing import Any


class NonFiniteError(ArithmeticError):
    """The model answered with infinities or not-a-numbers: the message gives the evaluation and the usual causes."""


class UnsupportedError(ValueError):
    """Refused by name before any model evaluation: the message gives the reason and the nearest way out."""


class BusyError(RuntimeError):
    """The pipeline is in the middle of a run: the message says whose, and what to do."""


class Interrupted(Exception):
    """A callback stopped the run (`pipe._interrupt`): what was ready is kept, and the same call goes on from there."""


def require_finite(answer: Any, what: str) -> None:
    """NonFiniteError unless every entry of the tensor is finite; `what` names the evaluation.

    One reduction and, on a GPU, one synchronisation: for the guided answer of an evaluation, not for its parts.
    """
    if not bool(answer.isfinite().all()):
        raise NonFiniteError(
            f"the model's answer at {what} is not finite. The usual causes: float16 overflow (use bfloat16 or float32),"
            " a guidance scale that is far too large, damaged weights or embeddings. Nothing was recorded of this run"
        )
