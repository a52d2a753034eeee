"""What a skipped model answers: nothing that is used, in a form that the pipeline's guidance arithmetic accepts."""

from __future__ import annotations

from typing import Any

import torch


class Placeholder(tuple):
    """Zeros of the input's shape, as the tuple of `return_dict=False` and as an output with `.sample`."""

    __slots__ = ()

    @property
    def sample(self) -> Any:
        return self[0]


def placeholder(hidden: Any) -> Placeholder:
    """For `hidden`, the model's first input: a tensor, or a list with one tensor for each image (Z-Image)."""
    if isinstance(hidden, torch.Tensor):
        return Placeholder((hidden.new_zeros(hidden.shape),))
    return Placeholder(([one.new_zeros(one.shape) for one in hidden],))


def rows(hidden: Any) -> int:
    """How many images (guidance included) a model call evaluates."""
    return int(hidden.shape[0]) if isinstance(hidden, torch.Tensor) else len(hidden)
