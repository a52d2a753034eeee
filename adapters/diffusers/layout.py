"""Where each latent cell sits in the tensor that the solver sees: probed, not registered.

A pipeline may pack its latents (Flux: 2 x 2 cells to a token). The probe lets the pipeline itself pack the numbers
0, 1, 2, ... instead of noise and reads the permutation off the solver's first state. No model is evaluated.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from ..errors import UnsupportedError
from .families import NoiseForm, family_of
from .head import ProbeLoop
from .run import run


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


def size_of(call: Mapping[str, Any]) -> tuple[int, ...]:
    """What a layout depends on, of a call: height, width, and the number of frames where one is given."""
    frames = (call["num_frames"],) if "num_frames" in call else ()
    return (call["height"], call["width"], *frames)


def probed_layout(
    pipe: Any,
    call: Mapping[str, Any],
    memo: dict[Any, Any] | None = None,
    attributes: Mapping[str, Any] | None = None,
) -> Layout:
    """How the pipeline arranges the latents of `call` (one image). UnsupportedError where that cannot be told.

    Also where the pipeline makes another size than it is asked for, or more pixels to a cell than its family says:
    operators would act on a grid that is not the image's.
    """
    family, loop, name = family_of(pipe), ProbeLoop(), type(pipe).__name__
    plain = {**call, "output_type": "latent", "callback_on_step_end": None}
    _, drawn = run(pipe, family.denoiser, plain, loop, memo=memo, noise=positions, attributes=attributes)
    if loop.sample is None or drawn is None or drawn.shape is None:
        raise UnsupportedError(f"{name} draws no noise that previews could follow")
    layout = Layout.probed(drawn.shape, loop.sample, name, family.noise)
    cell = family.cell_size(pipe)
    height, width = (side * cell for side in layout.grid[-2:])
    if (height, width) != (call["height"], call["width"]):
        raise UnsupportedError(
            f"{name} makes {width}x{height} pixels (width x height) where {call['width']}x{call['height']} is asked "
            f"for; give a size that it keeps{_unresized(pipe)}"
        )
    return layout


def _unresized(pipe: Any) -> str:
    """How the pipeline's resizing is switched off, where it can be."""
    ways = {"use_resolution_binning": "use_resolution_binning=False", "max_area": "max_area=height*width"}
    found = [way for name, way in ways.items() if name in inspect.signature(type(pipe).__call__).parameters]
    return f", or switch its resizing off ({', '.join(found)})" if found else ""
