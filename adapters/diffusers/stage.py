"""A stage of a preview, or the rest of a transform, as one pipeline call.

All evaluation times are known before it starts, so candidates and corrections are further entries of the list of times
that the pipeline walks, not calls of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import torch

from ...commutator import (
    Advance,
    Enter,
    Evaluate,
    Motion,
    Plan,
    Query,
    Stay,
    Trajectory,
    Transform,
    Transport,
    Transports,
    evaluation_times,
    run_stage,
)
from ...commutator.conversation import Conversation
from ..errors import Interrupted, UnsupportedError
from .caches import Phase, phases
from .head import watched
from .layout import Layout
from .noise import FreshNoise, StepNoise
from .run import Loop, Step, Stop, run
from .schedulers import MINIMUM_STEPS, Binding, Continuation, Timetable


@dataclass(frozen=True)
class Schedules:
    """The schedules of a plan's stages on one scheduler. Switches are in steps.

    Attributes:
        transports: from the resolution before it, of each of `plan.later`. Those of a selection share their gain.
    """

    plan: Plan
    binding: Binding
    transports: tuple[Transport | Stay, ...]

    def move(self, i: int) -> Transports:
        """From the final's own resolution and times to those of stage `i`."""
        return Transports(self.transports[: self.plan.later.index(i) + 1])

    def grid(self, high: Timetable, switch: int) -> Timetable:
        """The run at high resolution that the stages share, on whose times they all lie.

        `high` is the timetable of the run from the noise. One stage reads that schedule itself.
        """
        if self.plan.own_schedule or len(self.plan.later) < 2:
            return high
        return self.binding.coarser(high, switch, self.plan.steps)

    def of(self, i: int, grid: Timetable, switch: int) -> Continuation:
        """The schedule of stage `i` to the end of the run, the history before `switch` included."""
        steps = self.plan.stages[i].steps if len(self.plan.later) == 1 else None
        return self.binding.carried(grid, self.move(i), switch, steps)

    def check(self, high: Timetable) -> None:
        """UnsupportedError where the scheduler or the range of the model does not allow one of the stages."""
        switch = self.plan.first_run.steps
        grid = self.grid(high, switch) if self.plan.later else high
        for i in self.plan.later:
            self.of(i, grid, switch)
            switch += self.plan.stages[i].steps or 0


@dataclass(frozen=True)
class Course:
    """A run before it is made: what it asks, when, and on which schedule.

    Attributes:
        conversation: yields the requests. visits: the times at which the pipeline calls its model, in order.
        unasked: which of them are not evaluated: a first answer that is recorded already, a last state that is only
            looked at. binding: of the scheduler. schedule: the solver's, the transported history included.
        phases: of the transformer's cache, for each visit; see caches.py.
        leaves: whether the run ends before its schedule does, leaving a trajectory.
    """

    conversation: Conversation
    visits: Sequence[float]
    unasked: frozenset[int]
    binding: Binding
    schedule: Continuation
    phases: Sequence[Phase]
    leaves: bool = False

    @classmethod
    def of_stage(
        cls,
        schedules: Schedules,
        i: int,
        history: Trajectory,
        grid: Timetable,
        switch: int,
        signal: Callable[[torch.Tensor], torch.Tensor] | None = None,
    ) -> Course:
        """Stage `i` of a preview, from step `switch` of the grid on; `history` counts evaluations, `signal` carries the
        denoised prediction where the stage's operator does not."""
        schedule = schedules.of(i, grid, switch)
        plan, binding = schedules.plan, schedules.binding
        stage, per_step = plan.stages[i], binding.evaluations_per_step
        candidates, last = stage.candidates(plan.scale_before(i)), i == len(plan.stages) - 1
        known = not candidates and history.reference is not None
        reference = not last and plan.reference(i + 1)
        until, times = None, schedule.tail
        if not last:
            until = binding.evaluation(switch + (stage.steps or 0)) - binding.evaluation(switch)
        conversation = run_stage(
            stage,
            candidates,
            binding.path,
            history,
            times,
            until=until,
            reference=reference,
            per_step=per_step,
            signal=signal,
        )
        asked = times if until is None else times[: until + 1]
        visits = evaluation_times(stage, len(candidates), asked, per_step=per_step)
        unasked = {0} if known else set()
        if until is not None:
            visits = [*visits, times[until]]
            unasked |= set() if reference else {len(visits) - 1}
        behind = Fraction(history.switch, len(history.times) - 1)
        remembered = phases(len(times) - 1, len(candidates) if stage.compared else 1, stage.guidance, behind, per_step)
        return cls(conversation, visits, frozenset(unasked), binding, schedule, remembered, until is not None)

    @classmethod
    def of_transform(
        cls, transform: Transform, head: Trajectory, seeds: Sequence[int], binding: Binding, timetable: Timetable
    ) -> Course:
        """The rest of a transformed run, on the schedule of the run itself."""
        conversation = transform.run(binding.path, head, seeds)
        schedule = binding.same(timetable, transform.switch)
        behind = Fraction(head.switch, len(head.times) - 1)
        remembered = phases(len(schedule.tail) - 1, 1, transform.guidance, behind, transform.per_step)
        visits = transform.evaluation_times(head.times)
        return cls(conversation, visits, frozenset(), binding, schedule, remembered)


class StageLoop(Loop):
    """Carries a recorded history (spatial arrays) over to the transported trajectory and runs a course there.

    Args:
        layout: of the resolution that the course runs at. dtype: of the solver's states.
        fresh: the noise that the solver drew before, and would draw next; transported as the first noise is.
        before: the transports that the history has gone through already.

    Attributes:
        trajectory: what a run that leaves one has left, once it has. latents: after the last step so far, in the
            solver's layout.
    """

    unit_noise = True

    def __init__(
        self,
        course: Course,
        head: Trajectory,
        layout: Layout,
        dtype: torch.dtype,
        fresh: FreshNoise | None = None,
        before: Sequence[Transport | Stay] = (),
    ) -> None:
        super().__init__()
        self.head, self.layout, self.dtype = head, layout, dtype
        self.visits, self._course = course.visits, course
        self.fresh = FreshNoise() if fresh is None else fresh
        self.drawn: list[torch.Tensor | None] = []  # high-resolution noise of the solver's steps here
        self.index = 0  # position in self.visits
        self.steps = 0  # evaluations that the solver has stepped on here
        self.trajectory: Trajectory | None = None
        self.latents: torch.Tensor | None = None
        self._before = tuple(before)
        self._conversation = course.conversation
        # An answer that is known already is stepped on at once: the conversation begins with the solver.
        self._pending = None if 0 in course.unasked else self._until_evaluate_or_advance(None)
        self._awaits_query = False
        self._scheduler: Any = None
        self._real: Step | None = None
        self._move: Transport | Stay | Motion | None = None
        self._gate()

    @property
    def complete(self) -> bool:
        """Whether every evaluation was made and stepped on."""
        done = self.index == len(self.visits) and self._awaits_query
        return done if not self._course.leaves else self.trajectory is not None

    @property
    def evaluated(self) -> int:
        """How many answers the whole course asks of the model."""
        return len(self.visits) - len(self._course.unasked)

    @property
    def move(self) -> Transport | Stay:
        """How the history was carried over, once it was."""
        assert isinstance(self._move, (Transport, Stay))
        return self._move

    def first_state(self) -> torch.Tensor:
        """The state of the first evaluation: what the pipeline gets as its noise, arranged as it draws it."""
        state = self.head.state if self._pending is None else self._pending.x
        return self.layout.noise(state).to(self.dtype)

    def scheduled(self, scheduler: Any) -> None:
        """Give the pipeline the list of all evaluations; the solver gets its own when the course is entered."""
        self._scheduler = scheduler
        schedule = self._course.schedule
        timesteps = self._course.binding.begin(scheduler, schedule)
        known = dict(zip(schedule.tail, timesteps.tolist()))
        scheduler.timesteps = torch.tensor(
            [known[t] for t in self.visits], dtype=timesteps.dtype, device=scheduler.timesteps.device
        )
        if hasattr(scheduler, "sigmas"):
            # Some pipelines look `sigmas[i]` up for their i-th evaluation; there can be more of these than levels.
            missing = max(0, len(self.visits) - len(scheduler.sigmas))
            scheduler.sigmas = torch.nn.functional.pad(scheduler.sigmas, (0, missing))
        self._enter_phase()

    def step(self, real: Step, output: torch.Tensor, timestep: Any, sample: torch.Tensor) -> torch.Tensor:
        self._real = real
        try:
            request = self._answered(output, sample)
        except StopIteration as done:
            self.trajectory = done.value
            raise Stop from None
        self.index += 1
        self._gate()
        self._enter_phase()
        self.advanced = self._awaits_query = isinstance(request, Advance)
        if isinstance(request, Evaluate):
            self._pending = request
            return self.layout.solver(request.x, self.dtype)
        return self._advance(request)

    def _answered(self, output: torch.Tensor, sample: torch.Tensor) -> Any:
        """What the conversation wants next, after what the pipeline has evaluated (or not: `Course.unasked`)."""
        if self._awaits_query:
            query = Query(self.layout.spatial(sample), self.visits[self.index])
            self._pending = self._until_evaluate_or_advance(query)
        elif self._pending is None:
            return self._until_evaluate_or_advance(None)
        assert isinstance(self._pending, Evaluate)
        assert self._pending.t == self.visits[self.index], "evaluations come in the order announced"
        return self._until_evaluate_or_advance(self.layout.spatial(output))

    def _advance(self, request: Advance) -> torch.Tensor:
        assert self._real is not None
        schedule = self._course.schedule
        at = schedule.switch + self.steps
        self.steps += 1
        self._course.binding.before_step(self._scheduler, schedule, at)
        output, x = (self.layout.solver(part, self.dtype) for part in (request.output, request.x))
        self.drawn.append(None)

        def fresh(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> torch.Tensor:
            self.drawn[-1] = high = self.fresh.next(dtype, device)
            return self._noise(high, shape, dtype)

        with StepNoise(fresh):
            self.latents = self._real(output, schedule.solver_timesteps[at], x)
        return self.latents

    def _noise(self, high: torch.Tensor, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
        """High-resolution noise as the solver gets it here."""
        noise = self.layout.solver(Transports((*self._before, self.move)).noise(high), dtype)
        assert tuple(noise.shape[1:]) == shape[1:], "a solver draws noise for the whole of its state"
        return noise

    def _gate(self) -> None:
        self.gate.skip = self.index in self._course.unasked

    def _enter_phase(self) -> None:
        """The cache remembers the solver's steps, corrections and candidates apart."""
        if self.index < len(self._course.phases):
            self.caches.enter(*self._course.phases[self.index])

    def _until_evaluate_or_advance(self, reply: Any) -> Any:
        request = self._conversation.send(reply)
        while isinstance(request, Enter):
            self.enter(request)
            request = self._conversation.send(None)
        return request

    def enter(self, request: Enter) -> None:
        """Give the solver its history: the recorded answers, transported, fed to its step."""
        assert self._scheduler is not None
        self._move = request.transport
        if self._course.schedule.replayed:
            self.replayed()
        self._course.binding.resume(self._scheduler, self._course.schedule)

    def replayed(self) -> torch.Tensor:
        """Run the solver through the transported history; returns its state at the switch, in its own layout.

        For solvers without memory, this state is the transported state (exactly for selections, to rounding for means)
        and their position in the schedule is all that the course needs; a multistep solver gets its history. Solvers
        that step in flow time with more than Euler's method arrive elsewhere: no other time keeps chords straight.
        """
        assert self._move is not None
        assert self._real is not None
        # A signal of its own is for the state; a history of answers is carried by the linear operator.
        move, head, real = self._move.linear, self.head, self._real
        schedule, binding = self._course.schedule, self._course.binding
        binding.rewind(self._scheduler, schedule, len(head.times) - 1)
        y = self.layout.solver(move.start(head.noise, head.times[0]), self.dtype)
        for j in range(head.switch):
            output = move.output(head.outputs[j], head.states[j], head.times[j])
            recorded = self.fresh.recorded[j] if self.fresh.recorded else None

            def answer(shape: Any, dtype: Any, device: Any, recorded: torch.Tensor | None = recorded) -> torch.Tensor:
                assert recorded is not None, "the replayed history draws where it drew"
                return self._noise(recorded, shape, dtype)

            with StepNoise(answer):
                y = real(self.layout.solver(output, self.dtype), schedule.solver_timesteps[j], y)
        return y


def stage_call(
    pipe: Any,
    denoiser: str,
    call: Mapping[str, Any],
    loop: StageLoop,
    *,
    memo: dict[Any, Any],
    attributes: Mapping[str, Any] | None = None,
) -> Any:
    """The images of `call`, its noise and its steps the loop's; None where that leaves a trajectory instead.

    Generators are for what else a pipeline draws.

    Raises Interrupted when a callback stopped the pipeline before they were ready.
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
        raise Interrupted
    return None if out is None else out[0]


def for_tail(call: Mapping[str, Any], loop: StageLoop, switch: int) -> dict[str, Any]:
    """Arguments of the tail's call: steps go on counting from the switch, extra evaluations are not shown."""
    user = call.get("callback_on_step_end")
    if user is None:
        return {}

    def callback(pipe: Any, step: int, timestep: Any, values: Mapping[str, Any]) -> Any:
        if not loop.advanced:
            return {}
        return watched(user, pipe, switch + loop.steps - 1, timestep, values)

    return {"callback_on_step_end": callback}
