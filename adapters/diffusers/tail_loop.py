"""The tail of a preview or a manipulation as one pipeline call.

All evaluation times are known before it starts, so candidates and corrections are further entries of the list of times
that the pipeline walks, not calls of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from ...commutator import (
    Advance,
    Enter,
    Evaluate,
    Head,
    Manipulation,
    Motion,
    Plan,
    Query,
    Transport,
    evaluation_times,
    tail,
    tail_times,
)
from ...commutator.requests import Conversation
from .caches import phases, progresses
from .layout import Layout
from .loops import PATH, Loop, Step


@dataclass(frozen=True)
class Course:
    """A tail before it is run: what it asks, when, and on which schedule.

    Attributes:
        conversation: yields the requests. evaluations: the times of all `Evaluate`, in order.
        schedule: the solver's times for a transport, those of the transported head included.
        candidates: how many of the first evaluations are of candidates.
    """

    conversation: Conversation
    evaluations: Sequence[float]
    schedule: Callable[[Any], list[float]]
    candidates: int = 0

    @classmethod
    def of_plan(cls, plan: Plan, head: Head, gain: float) -> Course:
        """The low-resolution tail of a preview; `gain` is the operator's noise gain."""

        def schedule(move: Any) -> list[float]:
            head_times = [move.moved(t) for t in head.times[: plan.switch]]
            return head_times + tail_times(move, head.times, plan.switch, plan.tail)

        count = len(plan.operators()) if plan.selection in ("argmin", "argmax") else 1
        times = evaluation_times(plan, PATH, head.times, gain)
        return cls(tail(plan, PATH, head), times, schedule, candidates=count if count > 1 else 0)

    @classmethod
    def of_manipulation(cls, manipulation: Manipulation, head: Head, seeds: Sequence[int]) -> Course:
        """The rest of a moved run, on the schedule of the run itself."""
        conversation = manipulation.moved(PATH, head, seeds)
        return cls(conversation, manipulation.evaluation_times(head.times), lambda move: list(head.times))


class TailLoop(Loop):
    """Carries a recorded head (spatial arrays) over to the transported trajectory and runs a course there.

    Args:
        layout: of the resolution that the course runs at. dtype: of the solver's states.
    """

    def __init__(self, course: Course, head: Head, layout: Layout, dtype: torch.dtype) -> None:
        super().__init__()
        self.head, self.layout, self.dtype = head, layout, dtype
        self.evaluations, self._schedule = course.evaluations, course.schedule
        self._phases = phases(course.evaluations, course.candidates)
        self._progresses = progresses(course.evaluations, head.switch, len(head.times) - 1)
        self.index = 0  # position in self.evaluations
        self.steps = 0  # solver steps made in the tail
        self._conversation = course.conversation
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
        self._enter_phase()

    def step(self, real: Step, output: torch.Tensor, timestep: Any, sample: torch.Tensor) -> torch.Tensor:
        self._real = real
        if self._awaits_query:
            query = Query(self.layout.spatial(sample), self.evaluations[self.index])
            self._pending = self._until_evaluate_or_advance(query)
        assert isinstance(self._pending, Evaluate)
        assert self._pending.t == self.evaluations[self.index], "evaluations come in the order announced"
        request = self._until_evaluate_or_advance(self.layout.spatial(output))
        self.index += 1
        self._enter_phase()
        self.advanced = self._awaits_query = isinstance(request, Advance)
        if isinstance(request, Evaluate):
            self._pending = request
            return self.layout.solver(request.x, self.dtype)
        self.steps += 1
        return real(self.layout.solver(request.output, self.dtype), timestep, self.layout.solver(request.x, self.dtype))

    def _enter_phase(self) -> None:
        """The cache remembers the solver's steps, corrections and candidates apart."""
        if self.index < len(self.evaluations):
            self.caches.enter(self._phases[self.index], self._progresses[self.index])

    def _until_evaluate_or_advance(self, reply: Any) -> Any:
        request = self._conversation.send(reply)
        while isinstance(request, Enter):
            self.enter(request)
            request = self._conversation.send(None)
        return request

    def enter(self, request: Enter) -> None:
        """Give the solver its schedule and history: the head's answers, transported, fed to its step."""
        assert self._scheduler is not None
        assert self._real is not None
        sigmas = self._schedule(request.transport)
        replay(request.transport, self.head, sigmas, self.layout, self.dtype, self._scheduler, self._real)


def replay(
    move: Transport | Motion,
    head: Head,
    sigmas: Sequence[float],
    layout: Layout,
    dtype: torch.dtype,
    scheduler: Any,
    real: Step,
) -> torch.Tensor:
    """Run the solver on `sigmas` through the transported head; returns its state at the switch, in its own layout.

    For FlowMatchEuler, which has no memory, this state is the transported state (exactly for selections, to rounding
    for means) and the schedule's position is all that the tail needs; a multistep solver gets its history.
    """
    device, train = scheduler.sigmas.device, scheduler.config.num_train_timesteps
    scheduler.sigmas = torch.tensor(sigmas, dtype=torch.float32, device=device)
    timesteps = scheduler.sigmas[:-1] * train
    scheduler._step_index, scheduler._begin_index = None, 0
    y = layout.solver(move.start(head.noise, head.times[0]), dtype)
    for j in range(head.switch):
        output = move.output(head.outputs[j], head.states[j], head.times[j])
        y = real(layout.solver(output, dtype), timesteps[j], y)
    return y
