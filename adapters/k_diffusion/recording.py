"""The run from the noise: the unmodified sampler runs, and its model's first answers are recorded."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from ...commutator import Path, Trajectory
from ..errors import require_finite
from .calling import Model, Proxy, Stop, level
from .randomness import State, equal, state


@dataclass(frozen=True)
class Switch:
    """The model call in which a run ended, for another to continue it.

    Attributes:
        state: as the sampler hands it to the model, (batch, ..., height, width).
        sigma, args, kwargs: the other arguments of the call. grad: whether gradients were on in it.
        generators: the state of torch's global generators where the run ended.
    """

    state: torch.Tensor
    sigma: torch.Tensor
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    grad: bool
    generators: State

    @classmethod
    def of(cls, x: torch.Tensor, sigma: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Switch:
        """The present call, about the state `x`."""
        here = torch.as_tensor(sigma).detach().clone()
        return cls(x, here, args, kwargs, torch.is_grad_enabled(), state(x.device))


@dataclass(frozen=True)
class Past:
    """What another run of the sampler repeats, at the resolution at which it was.

    Attributes:
        answers: as the sampler got them, one a call before the switch. after: the generators' state after each.
        switch: the call after them.
        trajectory: the same in the model's coordinates.
        dtype: of the latent that the first run began with. corrects: whether the plan's guidance corrects states.
        written: states that were corrected in the sampler's own memory, by call.
    """

    answers: Sequence[torch.Tensor]
    after: Sequence[State]
    switch: Switch
    trajectory: Trajectory
    dtype: torch.dtype
    corrects: bool = False
    written: Mapping[int, torch.Tensor] = field(default_factory=dict)


@dataclass
class Recording:
    """What the run from the noise leaves.

    Attributes:
        noise: the latent that it began with. began: the generators' state then.
        states, outputs: of the model's calls so far. answers: what the sampler got for them.
        after: the generators' state after each call. drew: the calls in which the model itself drew random numbers.
        switch: the call in which the run ended; None before.
    """

    noise: torch.Tensor
    began: State
    states: list[torch.Tensor] = field(default_factory=list)
    outputs: list[torch.Tensor] = field(default_factory=list)
    answers: list[torch.Tensor] = field(default_factory=list)
    after: list[State] = field(default_factory=list)
    drew: list[int] = field(default_factory=list)
    switch: Switch | None = None

    @classmethod
    def of(cls, x: torch.Tensor) -> Recording:
        """An empty one, of a run that begins here."""
        return cls(x.detach().clone(), state(x.device))

    def past(self, path: Path, levels: Sequence[float], *, corrects: bool = False) -> Past:
        """What the next run repeats. `levels`: of all calls of this one, and its end; outputs are those of `path`."""
        assert self.switch is not None
        states = [*self.states, self.switch.state]
        outputs = tuple(map(path.output, self.outputs, states, levels))
        trajectory = Trajectory(tuple(levels), len(self.states), tuple(self.states), outputs, self.switch.state)
        return Past(self.answers, self.after, self.switch, trajectory, self.noise.dtype, corrects)


Step = Callable[[int, torch.Tensor, torch.Tensor], torch.Tensor]


class Recorder(Proxy):
    """Evaluates the model and records, until there are `calls` answers and the sampler asks for the next one.

    `reference`: that next one is evaluated too, and recorded. `step`: makes what the sampler gets from (call, answer,
    state), where that is not the answer itself.
    """

    def __init__(
        self, model: Model, recording: Recording, calls: int, *, reference: bool, step: Step | None = None
    ) -> None:
        super().__init__(model)
        self.recording, self._calls, self._reference, self._step = recording, calls, reference, step
        self.evaluations = 0

    def __call__(self, x: torch.Tensor, sigma: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        note = self.recording
        i, before = len(note.outputs), x.detach().clone()
        if i < self._calls or self._reference:
            output = self._evaluate(x, sigma, *args, **kwargs)
        if i == self._calls:
            note.switch = Switch.of(before, sigma, args, kwargs)
            raise Stop
        note.states.append(before)
        if self._step is None:
            note.answers.append(note.outputs[i])
            return output
        answer = self._step(i, note.outputs[i], before)
        note.answers.append(answer)
        return answer.clone()

    def _evaluate(self, x: torch.Tensor, sigma: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
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
        note.after.append(left)
        note.outputs.append(output.detach().clone())
        return output
