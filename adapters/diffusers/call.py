"""One ordinary pipeline call with a loop standing at its scheduler."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import wraps
from typing import Any

import torch

from .borrow import borrowed, memoised
from .errors import require_finite
from .families import denoisers
from .loops import Loop, Stop
from .noise import DrawnNoise
from .owning import guarded, held, owner


def run(
    pipe: Any,
    denoiser: str,
    call: Mapping[str, Any],
    loop: Loop,
    *,
    memo: dict[Any, Any] | None = None,
    noise: Callable[[tuple[int, ...]], torch.Tensor] | None = None,
    attributes: Mapping[str, Any] | None = None,
) -> tuple[Any, DrawnNoise | None]:
    """Call `pipe(**call)` with `loop` answering its steps; the pipeline is as before afterwards.

    `attributes` are set on the pipeline for the call. What draws from torch's global generator inside it (some
    pipelines encode control images so) always draws the same, so that a finish repeats what its head did.

    Returns (what the pipeline returned, or None where the loop stopped it; the noise draw if `noise` replaced it).
    Whatever the pipeline or a user's callback raises passes through. Other threads wait (see owning.py).

    Raises BusyError for a call from inside another one.
    """
    models = denoisers(pipe, denoiser)
    with held(pipe), guarded(pipe), borrowed(pipe, attributes or {}), loop.caches.on(models[0]), ExitStack() as stack:
        for model in models:
            stack.enter_context(loop.gate.on(model))
        if getattr(pipe, "controlnet", None) is not None:
            stack.enter_context(loop.gate.beside(pipe.controlnet))
        _stand_in(pipe.scheduler, loop)
        if memo is not None:
            vars(pipe)["encode_prompt"] = memoised(pipe.encode_prompt, memo)
        drawn = None if noise is None else DrawnNoise(noise)
        if drawn is not None:
            vars(pipe)["prepare_latents"] = drawn.during(pipe.prepare_latents)
        try:
            return pipe(**call), drawn
        except Stop:
            pipe.maybe_free_model_hooks()  # what the end of the call would have done for an offloaded pipeline
            return None, drawn


def _stand_in(scheduler: Any, loop: Loop) -> None:
    """Patch the instance only; `borrowed` takes it back."""
    set_timesteps, step, owned = scheduler.set_timesteps, scheduler.step, owner(type(scheduler).__name__)
    answers = 0
    if loop.unit_noise:
        # A property of the class in schedulers whose first state is scaled: only a class can stand in for it.
        scheduler.__class__ = type(type(scheduler).__name__, (type(scheduler),), {"init_noise_sigma": 1.0})

    @wraps(set_timesteps)  # pipelines inspect its signature
    def patched_set_timesteps(*args: Any, **kwargs: Any) -> None:
        owned()
        set_timesteps(*args, **kwargs)
        loop.scheduled(scheduler)

    @wraps(step)
    def patched_step(model_output: Any, timestep: Any, sample: Any, *args: Any, **kwargs: Any) -> Any:
        nonlocal answers
        owned()
        answers += 1
        if not loop.gate.skip:  # the guided answer, evaluated just now
            require_finite(model_output, f"evaluation {answers} of this run (timestep {float(timestep):g})")
        return_dict = kwargs.pop("return_dict", True)

        def real(output: Any, t: Any, state: Any) -> Any:
            return step(output, t, state, *args, return_dict=False, **kwargs)[0]

        # A copy, because some pipelines write the next state into the tensor of this one, and loops keep states.
        previous = loop.step(real, model_output, timestep, sample.clone())
        if not return_dict:
            return (previous,)
        from diffusers.schedulers.scheduling_utils import SchedulerOutput

        return SchedulerOutput(prev_sample=previous)

    vars(scheduler)["set_timesteps"] = patched_set_timesteps
    vars(scheduler)["step"] = patched_step
