"""The high-resolution head: the unmodified sampler runs, and its model's first answers are remembered."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import torch

from ...commutator import Path, Tape, VarianceExploding
from ..errors import require_finite
from .calling import Call, Sampler, checked_latent, checked_sigmas, require_recordable
from .generators import State, equal, kept, state
from .proxy import Model, Proxy, Stop, level
from .taping import tape_of


@dataclass
class Recording:
    """What a head leaves.

    Attributes:
        noise: the latent that the run began with. began: the generators' state then.
        states, outputs: of the calls so far. moved: the generators' state after each of them. drew: the calls in which
            the model itself drew random numbers.
        state: the state at the switch, as the sampler hands it to the model. sigma, args, kwargs: of that call. grad:
            whether gradients were on in it.
        stopped: the generators' state where the head ended.
    """

    noise: torch.Tensor
    began: State
    states: list[torch.Tensor] = field(default_factory=list)
    outputs: list[torch.Tensor] = field(default_factory=list)
    moved: list[State] = field(default_factory=list)
    drew: list[int] = field(default_factory=list)
    state: torch.Tensor | None = None
    sigma: torch.Tensor | None = None
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    stopped: State = ()
    grad: bool = False

    @property
    def complete(self) -> bool:
        return self.state is not None


class HeadRecorder(Proxy):
    """Asks the model and remembers, until `calls` answers are there and the next is asked for.

    `reference`: that next one is asked for too, and remembered.
    """

    def __init__(self, model: Model, recording: Recording, calls: int, *, reference: bool) -> None:
        super().__init__(model)
        self.recording, self._calls, self._reference = recording, calls, reference
        self.evaluations = 0

    def __call__(self, x: torch.Tensor, sigma: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        note = self.recording
        switch = len(note.outputs) == self._calls
        before = x.detach().clone()
        if not switch or self._reference:
            output = self._ask(x, sigma, *args, **kwargs)
        if switch:
            note.sigma, note.args, note.kwargs = torch.as_tensor(sigma).detach().clone(), args, kwargs
            note.grad = torch.is_grad_enabled()
            note.stopped = state(x.device)
            note.state = before
            raise Stop
        note.states.append(before)
        return output

    def _ask(self, x: torch.Tensor, sigma: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        note = self.recording
        found = state(x.device)
        output = self._model(x, sigma, *args, **kwargs)
        self.evaluations += 1
        if not isinstance(output, torch.Tensor) or output.shape != x.shape:
            shape = tuple(output.shape) if isinstance(output, torch.Tensor) else type(output).__name__
            raise TypeError(f"the model must answer {tuple(x.shape)} with the denoised latent, it answered {shape}")
        require_finite(output, f"call {len(note.outputs)} (sigma {level(sigma):g})")
        left = state(x.device)
        if not equal(found, left):
            note.drew.append(len(note.outputs))
        note.moved.append(left)
        note.outputs.append(output.detach().clone())
        return output


def record(
    sampler: Sampler,
    model: Model,
    x: torch.Tensor,
    sigmas: torch.Tensor,
    calls: int,
    extra_args: Mapping[str, Any] | None = None,
    callback: Callable[[Any], Any] | None = None,
    disable: bool | None = None,
    *,
    path: Path | None = None,
    **sampler_options: Any,
) -> Tape:
    """The first `calls` model answers of `sampler(model, x, sigmas, ...)` as a tape for `finish`.

    For samplers that cannot be previewed, such as adaptive ones. torch's global generators are left as they were found.
    Raises ValueError where the sampler asks no more often than `calls`.
    """
    checked_latent(x)
    checked_sigmas(sigmas)
    if calls < 0:
        raise ValueError(f"calls must not be negative, got {calls}")
    call = Call(sampler, sigmas, dict(extra_args or {}), disable, sampler_options)
    require_recordable(call)
    with kept(x.device):
        recording = Recording(x.detach().clone(), state(x.device))
        with suppress(Stop):
            call(HeadRecorder(model, recording, calls, reference=False), x.clone(), callback)
    if not recording.complete:
        raise ValueError(f"{call.name} asked its model {len(recording.outputs)} times, a tape of {calls} was wanted")
    return tape_of(call, recording, path or VarianceExploding())
