"""What a field is: a model, seen through its denoised prediction."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

Array = Any


@runtime_checkable
class Field(Protocol):
    """A model: the denoised prediction at a state and time. `x` has shape (batch, ..., height, width)."""

    def denoised(self, x: Array, t: float) -> Array: ...
