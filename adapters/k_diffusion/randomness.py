"""Random numbers of a replay: torch's global generators, and noise that is the high-resolution run's, mapped by A.

Samplers get noise in two ways: they draw it themselves, with `torch.randn_like(x)` or `torch.randn`, from the global
generators, or they ask a `noise_sampler`. Both are answered with high-resolution draws, mapped to the run's resolution.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

State = tuple[torch.Tensor, ...]
NoiseSampler = Callable[..., torch.Tensor]
View = Callable[[torch.Tensor], torch.Tensor]


def state(device: torch.device) -> State:
    """The CPU generator's state and, for another kind of device, that one's: Brownian trees seed from the CPU."""
    here = torch.get_rng_state()
    if device.type == "cpu":
        return (here,)
    module = getattr(torch, device.type)
    there = module.get_rng_state() if device.type == "mps" else module.get_rng_state(device)
    return here, there


def restore(saved: State, device: torch.device) -> None:
    """Set the generators to `saved`, which `state` returned on the same kind of device."""
    torch.set_rng_state(saved[0])
    if device.type == "cpu":
        return
    module = getattr(torch, device.type)
    if device.type == "mps":
        module.set_rng_state(saved[1])
    else:
        module.set_rng_state(saved[1], device)


def equal(one: State, other: State) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


@contextmanager
def preserved(device: torch.device) -> Iterator[None]:
    """After the block, whatever happens in it, the generators are as they were found."""
    found = state(device)
    try:
        yield
    finally:
        restore(found, device)


class SharedDraws(TorchFunctionMode):
    """Draws of the low-resolution shape are made at high resolution, from the same generator, and mapped by `view`.

    With the generators in the state that the high-resolution run began with, the low-resolution run consumes them
    exactly as that run did: a Brownian tree is seeded alike, and each of its nodes is the view of the other's node.
    """

    def __init__(self, view: View, high: torch.Tensor, low: torch.Tensor) -> None:
        """`high`: a tensor laid out as the high-resolution latents; `low`: as the low-resolution ones."""
        super().__init__()
        self._view, self._high, self._shape = view, high, tuple(low.shape)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func is torch.randn_like and tuple(args[0].shape) == self._shape:
            return self._view(func(self._high, **({"dtype": args[0].dtype} | kwargs))).clone()
        if func is torch.randn and _size(args, kwargs) == self._shape:
            kwargs.pop("size", None)
            return self._view(func(tuple(self._high.shape), **kwargs)).clone()
        return func(*args, **kwargs)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """A block in which draws are plain, for the model's own code."""
        self.__exit__(None, None, None)
        try:
            yield
        finally:
            self.__enter__()


class GivenNoise:
    """A noise sampler given by the caller, remembered: it may have a generator of its own that only runs forward."""

    def __init__(self, sampler: NoiseSampler) -> None:
        self._sampler = sampler
        self._drawn: list[torch.Tensor] = []

    def high(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        """The noise sampler of the high-resolution run."""
        noise = self._sampler(*args, **kwargs)
        self._drawn.append(noise.detach().clone())
        return noise

    def low(self, view: View) -> NoiseSampler:
        """The noise sampler of a stage: the draws of the runs before it, then further ones, mapped by `view`."""
        drawn = 0

        def draw(*args: Any, **kwargs: Any) -> torch.Tensor:
            nonlocal drawn
            if drawn == len(self._drawn):
                self.high(*args, **kwargs)
            drawn += 1
            return view(self._drawn[drawn - 1]).clone()

        return draw


def _size(args: Any, kwargs: Any) -> tuple[int, ...]:
    size = kwargs.get("size", args[0] if args and not isinstance(args[0], int) else args)
    return tuple(int(n) for n in size)
