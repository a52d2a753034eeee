"""The pipeline call that runs a tail, a preview's or a moved image's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from .call import run
from .callbacks import for_tail
from .errors import InterruptedByUser, UnsupportedError
from .schedulers import MINIMUM_STEPS
from .tail_loop import TailLoop


def run_tail(
    pipe: Any,
    denoiser: str,
    call: Mapping[str, Any],
    loop: TailLoop,
    *,
    memo: dict[Any, Any],
    attributes: Mapping[str, Any] | None = None,
) -> Any:
    """The images of `call`, its noise and its steps the loop's; None where that leaves a trajectory instead.

    Generators are for what else a pipeline draws.

    Raises InterruptedByUser when a callback stopped the pipeline before they were ready.
    """

    def noise(shape: tuple[int, ...]) -> torch.Tensor:
        first = loop.first_state()
        if shape[1:] != tuple(first.shape[1:]):
            raise UnsupportedError(f"the pipeline drew noise of {shape} where latents are {tuple(first.shape)}")
        return first

    changes: dict[str, Any] = {"num_inference_steps": max(MINIMUM_STEPS, len(loop.visits))}
    if "sigmas" in call:
        changes["sigmas"] = None
    changes |= for_tail(call, loop, loop.head.switch)
    out, _ = run(pipe, denoiser, {**call, **changes}, loop, memo=memo, noise=noise, attributes=attributes)
    if not loop.complete:
        raise InterruptedByUser
    return None if out is None else out[0]
