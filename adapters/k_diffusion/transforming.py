"""An image transformed while it forms: the sampler's run is carried along an operator at a step, and continued there.

As in a preview (replay.py), but the resolution stays: a `Motion` stands in the transport's place. The sampler begins
again from the moved noise and gets its recorded answers moved, so it arrives at the moved state with the moved history
of its solver.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import torch

from ...commutator import (
    DenoisedPrediction,
    Guidance,
    Motion,
    Path,
    Transform,
    VarianceExploding,
    transform_guidance,
    transform_step,
)
from ...operators import LinearOperator
from ..errors import UnsupportedError
from .calling import Call, Model, Sampler, Stop, checked_latent, checked_sigmas, require_recordable
from .randomness import preserved
from .recording import Recorder, Recording
from .rehearsal import Walk, require_replayable, require_unstirred, walk_of
from .replay import Continuation, MotionView


def transform(
    sampler: Sampler,
    model: Model,
    x: torch.Tensor,
    sigmas: torch.Tensor,
    operator: LinearOperator,
    extra_args: Mapping[str, Any] | None = None,
    callback: Callable[[Any], Any] | None = None,
    disable: bool | None = None,
    *,
    at: int | None = None,
    guidance: Guidance | str | None = "default",
    seeds: Sequence[int] | None = None,
    path: Path | None = None,
    **sampler_options: Any,
) -> torch.Tensor:
    """What `sampler(model, x, sigmas, ...)` makes when its image is transformed while it forms.

    Args:
        x: pure noise at sigmas[0], (batch, ..., height, width).
        operator: keeps the resolution and has a noise partner; on latent cells.
        callback: called for every step once, for those before the transform as they were.
        at: the sampler's step from which on the run is transformed; None: 2/5 of the steps.
        guidance: corrections after it, counted in model answers: kind "anchor" or "defect", None, or "default".
        seeds: of the fresh noise for what comes into view, one for each sample; None: 0, 1, ...
        Others: as of `preview`.

    Returns:
        A latent of x's shape.

    Raises:
        UnsupportedError, TypeError, ValueError or ShapeError before the model is asked: for a sampler that draws fresh
            noise (inseparable from the signal), has no exact replay, or an operator that changes the size or
            has no noise partner. What the model or the callback raises passes through.

    torch's global generators are left as they were found.
    """
    _check_guidance(guidance)
    path = path or VarianceExploding()
    call = Call(sampler, sigmas, dict(extra_args or {}), disable, sampler_options)
    checked_latent(x)
    first = checked_sigmas(sigmas)[0]
    require_recordable(call)
    with preserved(x.device):
        require_unstirred(call, model, x)
        require_replayable(call, model, x)
        walk = walk_of(call, model, x)
        plan = _transform_of(operator, walk, at, guidance)
        along = range(x.shape[0]) if seeds is None else seeds
        recording = Recording.of(x)
        motion = Motion.of(operator, DenoisedPrediction(path), recording.noise, first, along)
        recorder = Recorder(model, recording, plan.switch, reference=plan.needs_reference)
        with suppress(Stop):
            call(recorder, x.clone(), callback)
        if recording.switch is None:
            raise UnsupportedError(f"{call.name} asked its model {len(recording.outputs)} times and never switched")
        past = recording.past(motion.path, (*walk.calls, walk.end))
        conversation = plan.run_along(motion, motion.path, past.trajectory)
        run = Continuation(model, conversation, motion.path, past, walk, MotionView)
        result: torch.Tensor = call(run, motion.start(recording.noise, first).clone(), run.callback(callback))
        return result


def _check_guidance(guidance: Guidance | str | None) -> None:
    if isinstance(guidance, str) and guidance != "default":
        raise ValueError(f"guidance must be a Guidance, None or 'default', got {guidance!r}")
    if isinstance(guidance, Guidance) and guidance.kind not in ("anchor", "defect"):
        raise ValueError(f"guidance kind {guidance.kind!r} corrects states; use 'anchor' or 'defect'")


def _transform_of(operator: LinearOperator, walk: Walk, at: int | None, guidance: Guidance | str | None) -> Transform:
    """The transform, counted in the model calls of a sampler."""
    steps = len(walk.starts)
    made = transform_guidance(len(walk.calls)) if isinstance(guidance, str) else guidance
    step = min(transform_step(steps), steps - 1) if at is None else at
    return Transform(operator, walk.first_call(step), made)
