"""What an adapter raises, and the one look at a model's answers that makes it say so."""

from __future__ import annotations

from typing import Any

from ..errors import BusyError, Interrupted, NonFiniteError, UnsupportedError

__all__ = ["BusyError", "Interrupted", "NonFiniteError", "UnsupportedError", "require_finite"]


def require_finite(answer: Any, what: str) -> None:
    """NonFiniteError unless every entry of the tensor is finite; `what` names the evaluation.

    One reduction and, on a GPU, one synchronisation: for the guided answer of an evaluation, not for its parts.
    """
    if not bool(answer.isfinite().all()):
        raise NonFiniteError(
            f"the model's answer at {what} is not finite. The usual causes: float16 overflow (use bfloat16 or float32),"
            " a guidance scale that is far too large, damaged weights or embeddings. Nothing was recorded of this run"
        )
