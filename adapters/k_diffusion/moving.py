"""An image moved while it forms: the sampler's run is carried along an operator at a step, and continued there.

As in a preview (`answering.py`), but the resolution stays: a `Motion` stands in the transport's place, and the model is
asked at the sampler's own levels. The sampler begins again from the moved noise and gets its recorded answers moved, so
it arrives at the moved state with the moved history of its solver.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import torch

from ...commutator import (
    Advance,
    DenoisedPrediction,
    Evaluate,
    Guidance,
    Head,
    Manipulation,
    Motion,
    Path,
    Query,
    VarianceExploding,
)
from ...commutator.transform import move_guidance, move_step
from ...operators import LinearOperator
from ..errors import UnsupportedError
from .calling import Call, Sampler, checked_latent, checked_sigmas, require_recordable
from .generators import kept, state
from .proxy import Model, Proxy, Stop, level
from .recording import HeadRecorder, Recording
from .walking import Walk, require_replayable, require_unstirred, walk_of


@dataclass(frozen=True)
class Movement:
    """How the image is moved.

    Args:
        operator: keeps the resolution and has a noise partner; on latent cells.
        at: the sampler's step from which on the run is moved; None: 2/5 of the steps.
        guidance: corrections after it, counted in model answers: kind "anchor" or "defect", or None.
        seeds: of the fresh noise for what comes into view, one for each sample; None: 0, 1, ...

    Raises ValueError for another guidance.
    """

    operator: LinearOperator
    at: int | None = None
    guidance: Guidance | str | None = "default"
    seeds: Sequence[int] | None = None

    def __post_init__(self) -> None:
        if isinstance(self.guidance, str) and self.guidance != "default":
            raise ValueError(f"guidance must be a Guidance, None or 'default', got {self.guidance!r}")
        if isinstance(self.guidance, Guidance) and self.guidance.kind not in ("anchor", "defect"):
            raise ValueError(f"guidance kind {self.guidance.kind!r} corrects states; use 'anchor' or 'defect'")

    def on(self, walk: Walk) -> Manipulation:
        """The same, counted in the model calls of a sampler."""
        steps = len(walk.starts)
        guidance = move_guidance(len(walk.calls)) if isinstance(self.guidance, str) else self.guidance
        at = min(move_step(steps), steps - 1) if self.at is None else self.at
        return Manipulation(self.operator, walk.first_call(at), guidance)


def move(
    sampler: Sampler,
    model: Model,
    x: torch.Tensor,
    sigmas: torch.Tensor,
    movement: Movement,
    extra_args: Mapping[str, Any] | None = None,
    callback: Callable[[Any], Any] | None = None,
    disable: bool | None = None,
    *,
    path: Path | None = None,
    **sampler_options: Any,
) -> torch.Tensor:
    """What `sampler(model, x, sigmas, ...)` makes when its image is moved while it forms: a latent of the same size.

    Args:
        x: pure noise at sigmas[0].
        callback: is told of every step once, of those before the move as they were.
        Others: as of `preview`.

    Raises:
        UnsupportedError, TypeError, ValueError or ShapeError before the model is asked: for a sampler that draws fresh
            noise (it could not be told from the signal), has no exact replay, or an operator that changes the size or
            has no noise partner. What the model or the callback raises passes through.

    torch's global generators are left as they were found.
    """
    path = path or VarianceExploding()
    call = Call(sampler, sigmas, dict(extra_args or {}), disable, sampler_options)
    checked_latent(x)
    first = checked_sigmas(sigmas)[0]
    require_recordable(call)
    with kept(x.device):
        require_unstirred(call, model, x)
        require_replayable(call, model, x)
        walk = walk_of(call, model, x)
        manipulation = movement.on(walk)
        seeds = range(x.shape[0]) if movement.seeds is None else movement.seeds
        noise = x.detach().clone()
        motion = Motion.of(movement.operator, DenoisedPrediction(path), noise, first, seeds)
        recording = Recording(noise, state(x.device))
        recorder = HeadRecorder(model, recording, manipulation.switch, reference=manipulation.needs_reference)
        with suppress(Stop):
            call(recorder, x.clone(), callback)
        if not recording.complete:
            raise UnsupportedError(f"{call.name} asked its model {len(recording.outputs)} times and was never moved")
        answers = _MovedAnswers(model, manipulation, motion, recording, walk)
        result: torch.Tensor = call(answers, motion.start(noise, first).clone(), answers.callback(callback))
        return result


class _MovedAnswers(Proxy):
    """Answers the sampler's second run: by the recorded answers, moved, then by the model with the guidance."""

    def __init__(
        self, model: Model, manipulation: Manipulation, motion: Motion, recording: Recording, walk: Walk
    ) -> None:
        super().__init__(model)
        self._motion, self._recording, self._walk = motion, recording, walk
        self._switch = manipulation.switch
        self._index = 0
        self._real = False  # whether the last answer was the model's own
        assert recording.state is not None
        levels = (*walk.calls, walk.end)
        head = Head(levels, self._switch, tuple(recording.states), tuple(recording.outputs), recording.state)
        self._conversation = manipulation.continued(motion.path, head, motion)

    def __call__(self, x: torch.Tensor, sigma: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        i, t = self._index, self._walk.expected(self._index, level(sigma))
        self._index += 1
        if i < self._switch:
            moved: torch.Tensor = self._motion.operator(self._recording.outputs[i]).clone()
            return moved
        if i == self._switch:
            self._require_arrival(x, t)
        self._real = True
        request = self._conversation.send(None if i == self._switch else Query(x, t))
        while not isinstance(request, Advance):
            reply = None
            if isinstance(request, Evaluate):
                # A copy: the conversation keeps the first answer for later, the sampler may write to what it gets.
                reply = self._model(request.x, torch.full_like(sigma, request.t), *args, **kwargs).clone()
            request = self._conversation.send(reply)
        answer: torch.Tensor = request.output
        return answer.clone()

    def callback(self, user: Callable[[Any], Any] | None) -> Callable[[dict[str, Any]], None] | None:
        """The user's callback for the steps that were not told of at recording."""
        if user is None:
            return None

        def called(info: dict[str, Any]) -> None:
            if self._real:
                user(info)

        return called

    def _require_arrival(self, x: torch.Tensor, t: float) -> None:
        expected = self._motion.state(self._recording.state, t)
        # Rounding of the first latent, with room: a wrong state is off by its own size.
        allowed = 4 * torch.finfo(x.dtype).eps ** 0.5 * float(expected.abs().max())
        if not float((x - expected).abs().max()) <= allowed:
            raise UnsupportedError(
                "the moved run does not arrive at the moved state: this sampler does not carry its first noise along "
                "as its noise levels say, or a callback changed the latent; use euler, heun or dpmpp_2m"
            )
