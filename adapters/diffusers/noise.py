"""The noise of a run: put where a pipeline draws its first, and recorded or answered where its solver draws more."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import wraps
from typing import Any

import torch
from torch.overrides import TorchFunctionMode


class Parts:
    """A batch of noise, handed out as it is asked for: with a generator for each image, one image after the other."""

    def __init__(self) -> None:
        self.left = 0  # images whose noise is still to be asked for
        self._made: torch.Tensor | None = None

    def next(self, count: int, make: Callable[[], torch.Tensor]) -> torch.Tensor:
        """The noise of the following `count` images; `make` gives a new batch once the last one is used up."""
        if self._made is None or not self.left:
            self._made = make()
            self.left = self._made.shape[0]
        start = self._made.shape[0] - self.left
        self.left -= count
        return self._made[start : start + count]


class DrawnNoise(TorchFunctionMode):
    """Answers the first latent-shaped `torch.randn` (three or more dims) with `make(shape)`; later draws are real.

    `shape` is the shape that the pipeline asked for, (batch, channels, height, width) in latent cells. With a generator
    for each image the first request makes all, and those of the other images are answered, too. It stands
    in `during` one function only: pipelines with control images draw for their encoding before they draw the noise, and
    a mode that stays would see, and slow, every operation of the model.
    """

    def __init__(self, make: Callable[[tuple[int, ...]], torch.Tensor]) -> None:
        super().__init__()
        self.make = make
        self.shape: tuple[int, ...] | None = None
        self._parts = Parts()

    def during(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """`function`, its draws answered."""

        @wraps(function)
        def answered(*args: Any, **kwargs: Any) -> Any:
            with self:
                return function(*args, **kwargs)

        return answered

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is torch.randn and (self.shape is None or self._parts.left):
            shape = _asked(args, kwargs)
            if len(shape) >= 3:
                self.shape = self.shape or shape
                return self._parts.next(shape[0], lambda: self.make(shape))
        return func(*args, **kwargs)


class StepNoise(TorchFunctionMode):
    """The fresh noise of one solver step: recorded as it is drawn, or answered by `make(shape, dtype, device)`.

    The first dimension of what `make` returns is the whole batch, whatever part of it the solver asks for.
    """

    def __init__(
        self, make: Callable[[tuple[int, ...], torch.dtype, torch.device], torch.Tensor] | None = None
    ) -> None:
        super().__init__()
        self.make = make
        self._drawn: list[torch.Tensor] = []
        self._parts = Parts()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is not torch.randn:
            return func(*args, **kwargs)
        make = self.make
        if make is None:
            self._drawn.append(func(*args, **kwargs))
            return self._drawn[-1]
        shape, dtype = _asked(args, kwargs), kwargs.get("dtype") or torch.get_default_dtype()
        device = torch.device(kwargs.get("device") or "cpu")
        return self._parts.next(shape[0], lambda: make(shape, dtype, device))

    def drawn(self) -> torch.Tensor | None:
        """What was drawn, as one batch (generators of several images draw one after another); None for nothing."""
        return torch.cat(self._drawn) if self._drawn else None


def _asked(args: Any, kwargs: Any) -> tuple[int, ...]:
    """The shape that `torch.randn` was asked for."""
    size = kwargs.get("size", args[0] if args and not isinstance(args[0], int) else args)
    return tuple(int(n) for n in size)


@dataclass
class FreshNoise:
    """The noise that a stochastic solver draws at high resolution, for a tail that is to draw the same.

    Attributes:
        recorded: what it drew in each step of the head, spatial, None where nothing. packed: the solver's shape at high
            resolution, without the batch. spatial: from that layout to (batch, channels, height, width).
        generators: of each part of the batch, as the head left them: they go on from there.
    """

    recorded: Sequence[torch.Tensor | None] = ()
    packed: tuple[int, ...] = ()
    spatial: Callable[[torch.Tensor], torch.Tensor] = field(default=lambda x: x)
    generators: Sequence[Any] = ()

    def next(self, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
        """What the high-resolution run would draw now, spatial."""
        from diffusers.utils.torch_utils import randn_tensor

        parts = []
        for generator in self.generators:
            count = len(generator) if isinstance(generator, list) else 1
            parts.append(randn_tensor((count, *self.packed), generator=generator, device=device, dtype=dtype))
        return self.spatial(torch.cat(parts))
