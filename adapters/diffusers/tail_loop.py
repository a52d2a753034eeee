"""The tail of a preview or a manipulation as one pipeline call.

All evaluation times are known before it starts, so candidates and corrections are further entries of the list of times
that the pipeline walks, not calls of their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
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
    evaluations_on,
    tail,
)
from ...commutator.conversation import Conversation
from .caches import Phase, phases
from .layout import Layout
from .loops import Loop, Step
from .noise import FreshNoise, StepNoise
from .schedulers import Binding, Continuation, Timetable


@dataclass(frozen=True)
class Course:
    """A tail before it is run: what it asks, when, and on which schedule.

    Attributes:
        conversation: yields the requests. evaluations: the times of all `Evaluate`, in order.
        binding: of the scheduler. schedule: the solver's, the transported head included.
        phases: of the transformer's cache, for each evaluation; see caches.py.
    """

    conversation: Conversation
    evaluations: Sequence[float]
    binding: Binding
    schedule: Continuation
    phases: Sequence[Phase]

    @classmethod
    def of_plan(cls, plan: Plan, head: Head, gain: float, binding: Binding, timetable: Timetable) -> Course:
        """The low-resolution tail of a preview.

        `plan` counts steps, `head` evaluations; `gain` is the operator's noise gain, `timetable` the head's schedule.
        """
        move = Transport(plan.operators()[0], binding.path, gain, plan.time)
        schedule, counted = binding.carried(timetable, move, plan.switch, plan.tail), binding.in_evaluations(plan)
        conversation = tail(counted, binding.path, head, schedule.tail)
        candidates = len(plan.operators()) if plan.selection in ("argmin", "argmax") else 1
        behind = Fraction(head.switch, len(head.times) - 1)
        remembered = phases(len(schedule.tail) - 1, candidates, counted.guidance, behind)
        return cls(conversation, evaluations_on(counted, schedule.tail), binding, schedule, remembered)

    @classmethod
    def of_manipulation(
        cls, manipulation: Manipulation, head: Head, seeds: Sequence[int], binding: Binding, timetable: Timetable
    ) -> Course:
        """The rest of a moved run, on the schedule of the run itself. `manipulation` counts evaluations."""
        conversation = manipulation.moved(binding.path, head, seeds)
        schedule = binding.same(timetable, manipulation.switch)
        behind = Fraction(head.switch, len(head.times) - 1)
        remembered = phases(len(schedule.tail) - 1, 1, manipulation.guidance, behind)
        return cls(conversation, manipulation.evaluation_times(head.times), binding, schedule, remembered)


class TailLoop(Loop):
    """Carries a recorded head (spatial arrays) over to the transported trajectory and runs a course there.

    Args:
        layout: of the resolution that the course runs at. dtype: of the solver's states.
        fresh: the noise that the solver drew in the head, and would draw next; transported as the first noise is.
    """

    unit_noise = True

    def __init__(
        self, course: Course, head: Head, layout: Layout, dtype: torch.dtype, fresh: FreshNoise | None = None
    ) -> None:
        super().__init__()
        self.head, self.layout, self.dtype = head, layout, dtype
        self.evaluations, self._course = course.evaluations, course
        self.fresh = FreshNoise() if fresh is None else fresh
        self.index = 0  # position in self.evaluations
        self.steps = 0  # evaluations that the solver has stepped on in the tail
        self._conversation = course.conversation
        self._pending = self._until_evaluate_or_advance(None)
        self._awaits_query = False
        self._scheduler: Any = None
        self._real: Step | None = None
        self._move: Transport | Motion | None = None

    @property
    def complete(self) -> bool:
        """Whether every evaluation was made and stepped on."""
        return self.index == len(self.evaluations) and self._awaits_query

    def first_state(self) -> torch.Tensor:
        """The state of the first evaluation: what the pipeline gets as its noise, arranged as it draws it."""
        return self.layout.noise(self._pending.x).to(self.dtype)

    def scheduled(self, scheduler: Any) -> None:
        """Give the pipeline the list of all evaluations; the solver gets its own ticks when the tail is entered."""
        self._scheduler = scheduler
        schedule = self._course.schedule
        told = self._course.binding.begin(scheduler, schedule)
        known = dict(zip(schedule.tail, told.tolist()))
        scheduler.timesteps = torch.tensor(
            [known[t] for t in self.evaluations], dtype=told.dtype, device=scheduler.timesteps.device
        )
        if hasattr(scheduler, "sigmas"):
            # Some pipelines look `sigmas[i]` up for their i-th evaluation; there can be more of these than levels.
            missing = max(0, len(self.evaluations) - len(scheduler.sigmas))
            scheduler.sigmas = torch.nn.functional.pad(scheduler.sigmas, (0, missing))
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
        return self._advance(request)

    def _advance(self, request: Advance) -> torch.Tensor:
        assert self._real is not None
        schedule = self._course.schedule
        at = schedule.switch + self.steps
        self.steps += 1
        self._course.binding.before_step(self._scheduler, schedule, at)
        output, x = (self.layout.solver(part, self.dtype) for part in (request.output, request.x))
        with StepNoise(lambda shape, dtype, device: self._noise(self.fresh.next(dtype, device), shape, dtype)):
            return self._real(output, schedule.ticks[at], x)

    def _noise(self, high: torch.Tensor, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
        """High-resolution noise as the solver gets it here."""
        assert isinstance(self._move, Transport), "motions of stochastic solvers are refused"
        noise = self.layout.solver(self._move.noise(high), dtype)
        assert tuple(noise.shape[1:]) == shape[1:], "a solver draws noise for the whole of its state"
        return noise

    def _enter_phase(self) -> None:
        """The cache remembers the solver's steps, corrections and candidates apart."""
        if self.index < len(self.evaluations):
            self.caches.enter(*self._course.phases[self.index])

    def _until_evaluate_or_advance(self, reply: Any) -> Any:
        request = self._conversation.send(reply)
        while isinstance(request, Enter):
            self.enter(request)
            request = self._conversation.send(None)
        return request

    def enter(self, request: Enter) -> None:
        """Give the solver its history: the head's answers, transported, fed to its step."""
        assert self._scheduler is not None
        self._move = request.transport
        if self._course.schedule.replayed:
            self.replayed()
        self._course.binding.resume(self._scheduler, self._course.schedule)

    def replayed(self) -> torch.Tensor:
        """Run the solver through the transported head; returns its state at the switch, in its own layout.

        For solvers without memory, this state is the transported state (exactly for selections, to rounding for means)
        and their position in the schedule is all that the tail needs; a multistep solver gets its history. Solvers that
        step in flow time with more than Euler's method arrive elsewhere: no other time keeps their chords straight.
        """
        move, head, real = self._move, self.head, self._real
        assert move is not None
        assert real is not None
        schedule, binding = self._course.schedule, self._course.binding
        binding.rewind(self._scheduler, schedule, len(head.times) - 1)
        y = self.layout.solver(move.start(head.noise, head.times[0]), self.dtype)
        for j in range(head.switch):
            output = move.output(head.outputs[j], head.states[j], head.times[j])
            recorded = self.fresh.recorded[j] if self.fresh.recorded else None

            def answer(shape: Any, dtype: Any, device: Any, recorded: torch.Tensor | None = recorded) -> torch.Tensor:
                assert recorded is not None, "the replayed head draws where the head drew"
                return self._noise(recorded, shape, dtype)

            with StepNoise(answer):
                y = real(self.layout.solver(output, self.dtype), schedule.ticks[j], y)
        return y
