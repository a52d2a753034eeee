"""The noise of a run: put where a pipeline draws its first, and recorded or answered where its solver draws more."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.overrides import TorchFunctionMode


class DrawnNoise(TorchFunctionMode):
    """Answers the first latent-shaped `torch.randn` (three or more dims) with `make(shape)`; later draws are real.

    `shape` is the shape that the pipeline asked for, (batch, channels, height, width) in latent cells.
    """

    def __init__(self, make: Callable[[tuple[int, ...]], torch.Tensor]) -> None:
        super().__init__()
        self.make = make
        self.shape: tuple[int, ...] | None = None

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is torch.randn and self.shape is None:
            size = kwargs.get("size", args[0] if args and not isinstance(args[0], int) else args)
            if len(size) >= 3:
                self.shape = tuple(int(n) for n in size)
                return self.make(self.shape)
        return func(*args, **kwargs)


class StepNoise(TorchFunctionMode):
    """The fresh noise of one solver step: recorded as it is drawn, or answered by `make(shape, dtype, device)`."""

    def __init__(
        self, make: Callable[[tuple[int, ...], torch.dtype, torch.device], torch.Tensor] | None = None
    ) -> None:
        super().__init__()
        self.make = make
        self._drawn: list[torch.Tensor] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is not torch.randn:
            return func(*args, **kwargs)
        if self.make is None:
            self._drawn.append(func(*args, **kwargs))
            return self._drawn[-1]
        size = kwargs.get("size", args[0] if args and not isinstance(args[0], int) else args)
        dtype = kwargs.get("dtype") or torch.get_default_dtype()
        return self.make(tuple(int(n) for n in size), dtype, torch.device(kwargs.get("device") or "cpu"))

    def drawn(self) -> torch.Tensor | None:
        """What was drawn, as one batch (generators of several images draw one after another); None for nothing."""
        return torch.cat(self._drawn) if self._drawn else None


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
