"""The state of torch's global random generators: samplers draw from them, and a replay must leave them as it should."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

State = tuple[torch.Tensor, ...]


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
def kept(device: torch.device) -> Iterator[None]:
    """After the block, whatever happens in it, the generators are as they were found."""
    found = state(device)
    try:
        yield
    finally:
        restore(found, device)
