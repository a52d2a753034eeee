"""Where each latent cell sits in the tensor that the solver sees: probed, not registered.

A pipeline may pack its latents (Flux: 2 x 2 cells to a token). The probe lets the pipeline itself pack the numbers
0, 1, 2, ... instead of noise and reads the permutation off the solver's first state. No model is evaluated.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch

from .errors import UnsupportedError


@dataclass(frozen=True)
class NoiseForm:
    """How a pipeline arranges the noise that it draws; spatial latents are (batch, ..., channels, height, width).

    Attributes:
        channels_last: drawn as (batch, frames, height, width, channels), spatial as (batch, channels, frames, ...).
        patch: drawn as (batch, channels * patch^2, height / patch, width / patch), the position inside a patch fastest.
    """

    channels_last: bool = False
    patch: int = 1

    def spatial(self, drawn: torch.Tensor) -> torch.Tensor:
        """Noise as drawn to spatial latents."""
        x = drawn.movedim(-1, 1) if self.channels_last else drawn
        if self.patch == 1:
            return x
        b, c, h, w = x.shape
        p = self.patch
        return x.reshape(b, c // p**2, p, p, h, w).permute(0, 1, 4, 2, 5, 3).reshape(b, c // p**2, h * p, w * p)

    def drawn(self, spatial: torch.Tensor) -> torch.Tensor:
        """Spatial latents to noise as the pipeline would have drawn it."""
        x = spatial
        if self.patch != 1:
            b, c, h, w = x.shape
            p = self.patch
            x = x.reshape(b, c, h // p, p, w // p, p).permute(0, 1, 3, 5, 2, 4).reshape(b, c * p**2, h // p, w // p)
        return x.movedim(1, -1) if self.channels_last else x


@dataclass(frozen=True)
class Layout:
    """A permutation between spatial latents (batch, *grid) and the solver's states (batch, *packed).

    Attributes:
        grid: (channels, height, width) in latent cells, frames or others before the height where there are any.
        packed: the solver's shape without the batch.
        order: `packed.flat[j] == spatial.flat[order[j]]`; inverse: the other direction.
        form: of the noise that the pipeline draws.
    """

    grid: tuple[int, ...]
    packed: tuple[int, ...]
    order: torch.Tensor
    inverse: torch.Tensor
    form: NoiseForm = field(default_factory=NoiseForm)

    @classmethod
    def probed(cls, shape: tuple[int, ...], sample: torch.Tensor, name: str, form: NoiseForm | None = None) -> Layout:
        """From the shape of the noise drawn and the state it became. UnsupportedError when that is no permutation."""
        form = form or NoiseForm()
        count = math.prod(shape[1:])
        values = sample[0].detach().reshape(-1).to("cpu", torch.float64)
        found = values.round().to(torch.int64)
        whole = found.numel() == count and bool((found.to(torch.float64) == values).all())
        if not whole or not torch.equal(found.sort().values, torch.arange(count)):
            raise UnsupportedError(
                f"{name} arranges its latents in a way that is no permutation of the noise it draws "
                f"({tuple(shape)} became {tuple(sample.shape)}); previews need to know where each latent cell sits"
            )
        cells = form.spatial(torch.arange(count).reshape(1, *shape[1:]))
        order = cells.reshape(-1).argsort()[found]
        return cls(tuple(cells.shape[1:]), tuple(sample.shape[1:]), order, order.argsort(), form)

    def noise(self, latent: torch.Tensor) -> torch.Tensor:
        """(batch, *grid) -> the arrangement in which the pipeline draws its noise."""
        return self.form.drawn(latent)

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
