"""Putting a chosen tensor where a pipeline draws its initial noise, for the length of one call."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import torch
from torch.overrides import TorchFunctionMode


class DrawnNoise(TorchFunctionMode):
    """Answers the first latent-shaped `torch.randn` (three or more dims) with `make(shape)`; later draws are real.

    `shape` is the shape that the pipeline asked for, (batch, channels, height, width) in latent cells. With a generator
    for each image a pipeline asks for one image after the other: the first request makes all. `only_in` leaves draws
    outside a function alone: pipelines with control images draw for their encoding before they draw the noise.
    """

    def __init__(self, make: Callable[[tuple[int, ...]], torch.Tensor]) -> None:
        super().__init__()
        self.make = make
        self.shape: tuple[int, ...] | None = None
        self.left = -1  # images whose noise is still to be asked for; unknown before the first request
        self._made: torch.Tensor | None = None
        self._open = True

    def only_in(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """`function`, the only one whose draws are answered from now on."""
        self._open = False

        @wraps(function)
        def opened(*args: Any, **kwargs: Any) -> Any:
            self._open = True
            try:
                return function(*args, **kwargs)
            finally:
                self._open = False

        return opened

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is torch.randn and self._open and self.left != 0:
            size = kwargs.get("size", args[0] if args and not isinstance(args[0], int) else args)
            if len(size) >= 3:
                return self._next(tuple(int(n) for n in size))
        return func(*args, **kwargs)

    def _next(self, shape: tuple[int, ...]) -> torch.Tensor:
        if self._made is None:
            self.shape, self._made = shape, self.make(shape)
            self.left = self._made.shape[0]
        start = self._made.shape[0] - self.left
        self.left -= shape[0]
        return self._made[start : start + shape[0]]
