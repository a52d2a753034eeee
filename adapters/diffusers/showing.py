"""A preview without a low-resolution phase: the denoised prediction of the head, decoded by the pipeline itself."""

from __future__ import annotations

from typing import Any

import torch

from .loops import Loop, Step


class ShowLoop(Loop):
    """One ordinary pipeline call that evaluates nothing and ends with the given latents.

    Args:
        latents: in the solver's layout and dtype: the denoised prediction of the whole batch.
    """

    unit_noise = True

    def __init__(self, latents: torch.Tensor) -> None:
        super().__init__()
        self.gate.skip = True
        self.latents = latents
        self.advanced = False  # nothing here is a step: the user's callback has seen those of the head

    def step(self, real: Step, output: torch.Tensor, timestep: Any, sample: torch.Tensor) -> torch.Tensor:
        return self.latents.to(sample.device)
