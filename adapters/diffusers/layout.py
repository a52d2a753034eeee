"""Where each latent cell sits in the tensor that the solver sees: probed, not registered.

A pipeline may pack its latents (Flux: 2 x 2 cells to a token). The probe lets the pipeline itself pack the numbers
0, 1, 2, ... instead of noise and reads the permutation off the solver's first state. No model is evaluated.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from .errors import UnsupportedError


@dataclass(frozen=True)
class Layout:
    """A permutation between spatial latents (batch, *grid) and the solver's states (batch, *packed).

    Attributes:
        grid: (channels, height, width) in latent cells. packed: the solver's shape without the batch.
        order: `packed.flat[j] == spatial.flat[order[j]]`; inverse: the other direction.
    """

    grid: tuple[int, ...]
    packed: tuple[int, ...]
    order: torch.Tensor
    inverse: torch.Tensor

    @classmethod
    def probed(cls, shape: tuple[int, ...], sample: torch.Tensor, name: str) -> Layout:
        """From the shape of the noise drawn and the state it became. UnsupportedError when that is no permutation."""
        count = math.prod(shape[1:])
        order = sample[0].detach().reshape(-1).to("cpu", torch.float64)
        found = order.round().to(torch.int64)
        whole = found.numel() == count and bool((found.to(torch.float64) == order).all())
        if not whole or not torch.equal(found.sort().values, torch.arange(count)):
            raise UnsupportedError(
                f"{name} arranges its latents in a way that is no permutation of the noise it draws "
                f"({tuple(shape)} became {tuple(sample.shape)}); previews need to know where each latent cell sits"
            )
        return cls(tuple(shape[1:]), tuple(sample.shape[1:]), found, found.argsort())

    def spatial(self, state: torch.Tensor) -> torch.Tensor:
        """(batch, *packed) -> (batch, *grid) in at least float32, the precision operators and norms work in."""
        flat = state.reshape(state.shape[0], -1)[:, self.inverse.to(state.device)]
        wide = flat if flat.dtype == torch.float64 else flat.to(torch.float32)
        return wide.reshape(state.shape[0], *self.grid)

    def solver(self, latent: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        """(batch, *grid) -> (batch, *packed) in the solver's dtype."""
        flat = latent.reshape(latent.shape[0], -1)[:, self.order.to(latent.device)]
        return flat.to(dtype).reshape(latent.shape[0], *self.packed)


def positions(shape: tuple[int, ...]) -> torch.Tensor:
    """The numbers 0, 1, 2, ... in place of noise; float64 holds every index exactly."""
    return torch.arange(math.prod(shape), dtype=torch.float64).reshape(shape)
