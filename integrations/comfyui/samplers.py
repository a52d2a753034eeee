"""ComfyUI samplers that record, continue at low resolution, and finish. Each runs the user's own sampler function."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from comfy.samplers import KSAMPLER

from ...adapters.k_diffusion import TwoCallPreview, finish
from ...commutator import Tape, TapeError


class Standing(KSAMPLER):
    """Stands for a sampler of the user's, which it runs more than once or in part: not to be stood for again."""


def recording(sampler: KSAMPLER, calls: TwoCallPreview) -> KSAMPLER:
    """Records the head. What it returns is no result: the latent that it was given."""

    def sample(model: Any, x: torch.Tensor, sigmas: torch.Tensor, **given: Any) -> torch.Tensor:
        calls.high(sampler.sampler_function, model, x, sigmas, **given)
        return x

    return _standing_for(sampler, sample)


def continuing(sampler: KSAMPLER, calls: TwoCallPreview) -> KSAMPLER:
    """Makes the preview; its own latent and sigmas are the recorded head's, carried to low resolution."""

    def sample(
        model: Any, x: torch.Tensor, sigmas: torch.Tensor, extra_args: Any, callback: Any, **_: Any
    ) -> torch.Tensor:
        return calls.low(model, extra_args, callback)

    return _standing_for(sampler, sample)


def finishing(sampler: KSAMPLER, tape: Tape) -> KSAMPLER:
    """What the stock sampler node makes with `sampler`, bit for bit, without asking the model for the tape's answers.

    Raises TapeError, before the model is asked, where it is given another noise, latent or schedule.
    """

    def sample(model: Any, x: torch.Tensor, sigmas: torch.Tensor, **given: Any) -> Any:
        recorded = torch.as_tensor(tape.noise).to(x.device)
        if x.dtype != recorded.dtype or not torch.equal(x, recorded):
            raise TapeError(
                "this finish belongs to another noise or latent: connect the noise, sigmas and latent image that the "
                "Preview Sampler has"
            )
        return finish(sampler.sampler_function, model, tape, sigmas, **given)

    return _standing_for(sampler, sample)


def _standing_for(sampler: KSAMPLER, sample: Callable[..., Any]) -> KSAMPLER:
    return Standing(sample, sampler.extra_options, sampler.inpaint_options)
