"""The three runs of a preview, each one ordinary pipeline call whose scheduler steps are answered here.

A pipeline evaluates its model (guidance included) and hands the result to `scheduler.step`. That is where these loops
stand: they record, substitute, or ask for another evaluation by returning the state they want evaluated next. All
evaluation times of a tail are known before it starts, so candidates and corrections are further entries of the list of
times the pipeline walks, not calls of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from ...commutator import (
    Advance,
    Enter,
    Evaluate,
    Head,
    Plan,
    Query,
    RectifiedFlow,
    TapeError,
    evaluation_times,
    tail,
    tail_times,
)
from ...commutator import head as head_of
from .gate import Gate
from .layout import Layout

PATH = RectifiedFlow()
Step = Callable[..., Any]


class Stop(BaseException):
    """Ends a pipeline call that has given what it was made for. BaseException: no `except Exception` may keep it."""


class Loop:
    """What `call.run` needs: a gate, the schedule, and an answer to every step."""

    def __init__(self) -> None:
        self.gate = Gate()
        self.advanced = True  # whether the last step call was a step of the solver (callbacks are for those only)

    def scheduled(self, scheduler: Any) -> None:
        """Called after the scheduler has set its times."""

    def step(self, real: Step, output: torch.Tensor, timestep: Any, sample: torch.Tensor) -> torch.Tensor:
        """The next state for the pipeline."""
        raise NotImplementedError


class ProbeLoop(Loop):
    """Reads the first state; evaluates nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.gate.skip = True
        self.sample: torch.Tensor | None = None

    def step(self, real: Step, output: torch.Tensor, timestep: Any, sample: torch.Tensor) -> torch.Tensor:
        self.sample = sample
        raise Stop


class HeadLoop(Loop):
    """Runs and records the high-resolution head of a plan, then stops the call."""

    def __init__(self, plan: Plan) -> None:
        super().__init__()
        self.plan = plan
        self.times: tuple[float, ...] = ()
        self.head: Head | None = None
        self.index = 0
        self._conversation: Any = None
        self.gate.skip = plan.high_evaluations == 0

    @property
    def recorded(self) -> Head:
        """The head, once the run has stopped."""
        assert self.head is not None
        return self.head

    def scheduled(self, scheduler: Any) -> None:
        self.times = tuple(float(s) for s in scheduler.sigmas)

    def step(self, real: Step, output: torch.Tensor, timestep: Any, sample: torch.Tensor) -> torch.Tensor:
        query = Query(sample, self.times[self.index])
        try:
            if self._conversation is None:
                self._conversation = head_of(self.plan, self.times, query)
                request = next(self._conversation)
            else:
                request = self._conversation.send(query)
            assert isinstance(request, Evaluate), "a head evaluates every state it is asked about"
            request = self._conversation.send(output)
        except StopIteration as done:
            self.head = done.value
            raise Stop from None
        self.index += 1
        self.gate.skip = self.index >= self.plan.high_evaluations
        return real(output, timestep, sample)


class TailLoop(Loop):
    """Carries a recorded head (spatial arrays) to low resolution and runs the plan's tail there.

    Args:
        low: layout at low resolution. dtype: of the solver's states. gain: the operator's noise gain.
    """

    def __init__(self, plan: Plan, head: Head, low: Layout, dtype: torch.dtype, gain: float) -> None:
        super().__init__()
        self.plan, self.head, self.low, self.dtype = plan, head, low, dtype
        self.evaluations = evaluation_times(plan, PATH, head.times, gain)
        self.index = 0  # position in self.evaluations
        self.steps = 0  # solver steps made in the tail
        self._conversation = tail(plan, PATH, head)
        self._pending = self._until_evaluate_or_advance(None)
        self._awaits_query = False
        self._scheduler: Any = None
        self._real: Step | None = None

    @property
    def complete(self) -> bool:
        """Whether every evaluation was made and stepped on."""
        return self.index == len(self.evaluations) and self._awaits_query

    def first_state(self) -> torch.Tensor:
        """The state of the first evaluation, spatial: what the pipeline gets as its noise."""
        return self._pending.x.to(self.dtype)

    def scheduled(self, scheduler: Any) -> None:
        """Give the pipeline the list of all evaluations; the solver gets its own schedule when the tail is entered."""
        self._scheduler = scheduler
        device, train = scheduler.sigmas.device, scheduler.config.num_train_timesteps
        scheduler.timesteps = torch.tensor(self.evaluations, dtype=torch.float32, device=device) * train
        scheduler.num_inference_steps = len(self.evaluations)

    def step(self, real: Step, output: torch.Tensor, timestep: Any, sample: torch.Tensor) -> torch.Tensor:
        self._real = real
        if self._awaits_query:
            query = Query(self.low.spatial(sample), self.evaluations[self.index])
            self._pending = self._until_evaluate_or_advance(query)
        assert isinstance(self._pending, Evaluate)
        assert self._pending.t == self.evaluations[self.index], "evaluations come in the order announced"
        request = self._until_evaluate_or_advance(self.low.spatial(output))
        self.index += 1
        self.advanced = self._awaits_query = isinstance(request, Advance)
        if isinstance(request, Evaluate):
            self._pending = request
            return self.low.solver(request.x, self.dtype)
        self.steps += 1
        return real(self.low.solver(request.output, self.dtype), timestep, self.low.solver(request.x, self.dtype))

    def _until_evaluate_or_advance(self, reply: Any) -> Any:
        request = self._conversation.send(reply)
        while isinstance(request, Enter):
            self.enter(request)
            request = self._conversation.send(None)
        return request

    def enter(self, request: Enter) -> None:
        """Give the solver its low-resolution schedule and history: the head's answers, transported, fed to its step."""
        assert self._scheduler is not None
        assert self._real is not None
        replay(request, self.head, self.plan, self.low, self.dtype, self._scheduler, self._real)


def replay(
    request: Enter, head: Head, plan: Plan, low: Layout, dtype: torch.dtype, scheduler: Any, real: Step
) -> torch.Tensor:
    """Run the solver through the transported head; returns its state at the switch, in its own layout.

    For FlowMatchEuler, which has no memory, this state is the transported state (exactly for selections, to rounding
    for means) and the schedule's position is all that the tail needs; a multistep solver gets its history.
    """
    move, times = request.transport, head.times
    sigmas = [move.moved(t) for t in times[: plan.switch]] + tail_times(move, times, plan.switch, plan.tail)
    device, train = scheduler.sigmas.device, scheduler.config.num_train_timesteps
    scheduler.sigmas = torch.tensor(sigmas, dtype=torch.float32, device=device)
    timesteps = scheduler.sigmas[:-1] * train
    scheduler._step_index, scheduler._begin_index = None, 0
    y = low.solver(move.start(head.noise, times[0]), dtype)
    for j in range(plan.switch):
        output = move.output(head.outputs[j], head.states[j], times[j])
        y = real(low.solver(output, dtype), timesteps[j], y)
    return y


class FinishLoop(Loop):
    """The plain run, answered from the tape for as long as the tape lasts.

    Raises TapeError when the run does not start from the recorded noise or does not arrive at the recorded state:
    then the tape is of another seed, size, schedule or callback, and nothing may be continued from it.
    """

    def __init__(self, outputs: Sequence[torch.Tensor], noise: torch.Tensor, state: torch.Tensor, switch: int) -> None:
        super().__init__()
        self.outputs, self.noise, self.state, self.switch = outputs, noise, state, switch
        self.index = 0
        self.gate.skip = bool(outputs)

    def step(self, real: Step, output: torch.Tensor, timestep: Any, sample: torch.Tensor) -> torch.Tensor:
        if self.index == 0:
            self._same(sample, self.noise, "the initial noise")
        if self.index == self.switch and self.outputs:
            self._same(sample, self.state, "the state at the switch")
        if self.index < len(self.outputs):
            output = self.outputs[self.index].to(output.device)
        self.index += 1
        self.gate.skip = self.index < len(self.outputs)
        return real(output, timestep, sample)

    def _same(self, sample: torch.Tensor, recorded: torch.Tensor, what: str) -> None:
        if sample.dtype != recorded.dtype or not torch.equal(sample, recorded.to(sample.device)):
            raise TapeError(f"{what} differs from the tape: it was recorded with other settings, or by another version")
