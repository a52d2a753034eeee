"""The high-resolution runs, each one ordinary pipeline call whose scheduler steps are answered here.

A pipeline evaluates its model (guidance included) and hands the result to `scheduler.step`. That is where these loops
stand: they record, substitute, or (`tail_loop.py`) ask for another evaluation by returning the state they want
evaluated next.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from ...commutator import Advance, Evaluate, Plan, Query, TapeError, Trajectory, run_head
from ...commutator.steps import require_switch
from .caches import Caches, Kept, Memory
from .gate import Gate
from .noise import StepNoise
from .schedulers import Binding, Timetable

Step = Callable[..., Any]


class Stop(BaseException):
    """Ends a pipeline call that has given what it was made for. BaseException: no `except Exception` may keep it."""


class Loop:
    """What `call.run` needs: a gate, the caches' memories, the schedule, and an answer to every step."""

    unit_noise = False  # whether the noise the pipeline draws is to stay as it is, not scaled to the first noise level

    def __init__(self) -> None:
        self.gate = Gate()
        self.caches = Caches()
        self.advanced = True  # whether the last step call was a step of the solver (callbacks are for those only)

    def scheduled(self, scheduler: Any) -> None:
        """Called after the scheduler has set its times."""

    def step(self, real: Step, output: torch.Tensor, timestep: Any, sample: torch.Tensor) -> torch.Tensor:
        """The next state for the pipeline."""
        raise NotImplementedError


class ProbeLoop(Loop):
    """Reads the first state; evaluates nothing."""

    unit_noise = True

    def __init__(self) -> None:
        super().__init__()
        self.gate.skip = True
        self.sample: torch.Tensor | None = None

    def step(self, real: Step, output: torch.Tensor, timestep: Any, sample: torch.Tensor) -> torch.Tensor:
        self.sample = sample
        raise Stop


class HeadLoop(Loop):
    """Makes and records the run of a plan from the noise, at high resolution, then stops the call.

    Args:
        plan: whose first run it is; it counts steps, the loop evaluations.
        check: raises for a schedule that the stages of the plan could not follow; called before any evaluation.
        known: (outputs, first noise) that are on tape already: those are not evaluated again.

    Raises TapeError when the run does not start from the noise that the known outputs belong to.
    """

    def __init__(
        self,
        plan: Plan,
        binding: Binding,
        check: Callable[[Timetable], None],
        known: tuple[Sequence[torch.Tensor], torch.Tensor] | None = None,
    ) -> None:
        super().__init__()
        self.head: Trajectory | None = None
        self.index = 0
        self.noises: list[torch.Tensor | None] = []  # what the solver drew in each step
        self.memory: Memory = []  # of the transformer's cache after the head's evaluations
        self._first, self._early_switch = plan.first_run, plan.early_switch
        self._evaluations = binding.evaluation(self._first.steps)
        self._binding, self._check = binding, check
        self._timetable: Timetable | None = None
        self._conversation: Any = None
        most = self._evaluations + int(self._first.reference)
        self._known: Sequence[torch.Tensor] = () if known is None else known[0][:most]
        self._noise = None if known is None else known[1]
        self._most = most
        self._gate()

    @property
    def recorded(self) -> Trajectory:
        """The head, once the run has stopped."""
        assert self.head is not None
        return self.head

    @property
    def timetable(self) -> Timetable:
        """The schedule of the run."""
        assert self._timetable is not None
        return self._timetable

    def scheduled(self, scheduler: Any) -> None:
        self._timetable = self._binding.read(scheduler)
        self._check(self._timetable)

    @property
    def evaluated(self) -> int:
        """How many answers the model was asked for."""
        return max(0, len(self.recorded.outputs) - len(self._known))

    def _gate(self) -> None:
        self.gate.skip = self.index < len(self._known) or self.index >= self._most

    def step(self, real: Step, output: torch.Tensor, timestep: Any, sample: torch.Tensor) -> torch.Tensor:
        query = Query(sample, self.timetable.times[self.index])
        if self.index == 0 and self._noise is not None:
            same_tensor(sample, self._noise, "the initial noise")
        if self.index < len(self._known):
            output = self._known[self.index].to(output.device)
        try:
            if self._conversation is None:
                self._conversation = run_head(
                    self._binding.path,
                    self.timetable.times,
                    query,
                    self._evaluations,
                    reference=self._first.reference,
                    early_switch=self._early_switch,
                    order=self._first.order,
                )
                request = next(self._conversation)
            else:
                request = self._conversation.send(query)
            assert isinstance(request, Evaluate), "a head evaluates every state it is asked about"
            request = self._conversation.send(output)
            assert isinstance(request, Advance), "a head steps on with every answer but the last"
        except StopIteration as done:
            self.head = done.value
            self.memory = self.caches.taken()
            raise Stop from None
        self.index += 1
        self._gate()
        with StepNoise() as noise:
            following = real(request.output, timestep, sample)
        self.noises.append(noise.drawn())
        return following


class FinishLoop(Loop):
    """The plain run, answered from the tape for as long as the tape lasts.

    `cache` is what a transformer's cache remembered when the tape ended: the first evaluation after it needs that. With
    `afresh` the tape answers nothing: the head is evaluated again, which brings the cache there too, and only checked.

    A `coarse` head ran on fewer steps: its noise is the run's up to the scale with which the scheduler starts.

    Raises TapeError when the run does not start from the recorded noise or does not arrive at the recorded state:
    then the tape is of another seed, size, schedule or callback, and nothing may be continued from it.
    """

    def __init__(
        self,
        outputs: Sequence[torch.Tensor],
        noise: torch.Tensor,
        state: torch.Tensor,
        switch: int,
        *,
        cache: Kept | None = None,
        afresh: bool = False,
        coarse: bool = False,
    ) -> None:
        super().__init__()
        self.coarse = coarse
        self.outputs, self.noise, self.state, self.switch = outputs, noise, state, switch
        self.answered = 0 if afresh else len(outputs)
        self.index = 0
        self.gate.skip = self.answered > 0
        self._cache = cache

    def step(self, real: Step, output: torch.Tensor, timestep: Any, sample: torch.Tensor) -> torch.Tensor:
        self.check(sample)
        if self.index < self.answered:
            output = self.outputs[self.index].to(output.device)
        self.index += 1
        self.gate.skip = self.index < self.answered
        if self.index == self.answered and self._cache is not None:
            self.caches.resume(self._cache)
        return real(output, timestep, sample)

    def check(self, sample: torch.Tensor) -> None:
        """TapeError unless the run is where the tape says it was."""
        if self.index == 0:
            noise = rescaled(self.noise, sample) if self.coarse else self.noise
            same_tensor(sample, noise, "the initial noise")
        if self.index == self.switch and self.outputs:
            same_tensor(sample, self.state, "the state at the switch")


def rescaled(noise: torch.Tensor, sample: torch.Tensor) -> torch.Tensor:
    """`sample` where it is a multiple of `noise`, up to the rounding of its dtype, and `noise` where it is none."""
    if noise.dtype != sample.dtype or noise.shape != sample.shape:
        return noise
    x, y = noise.to(sample.device, torch.float64), sample.to(torch.float64)
    off = (y - (x * y).sum() / (x * x).sum() * x).abs().max()
    return sample if bool(off <= 4 * torch.finfo(sample.dtype).eps * y.abs().max()) else noise


def same_tensor(sample: torch.Tensor, recorded: torch.Tensor, what: str) -> None:
    """TapeError unless the run's tensor is the recorded one, bit for bit."""
    if sample.dtype != recorded.dtype or not torch.equal(sample, recorded.to(sample.device)):
        raise TapeError(f"{what} differs from the tape: it was recorded with other settings, or by another version")


class RetraceLoop(FinishLoop):
    """The plain run to evaluation `until`, recorded again: from the tape where it can be, computed where it cannot.

    `reference` also records the answer at `until`. Raises TapeError as `FinishLoop` does, ValueError where the run has
    no step left after `until`.
    """

    def __init__(
        self,
        outputs: Sequence[torch.Tensor],
        noise: torch.Tensor,
        state: torch.Tensor,
        switch: int,
        *,
        until: int,
        reference: bool,
        binding: Binding,
        cache: Kept | None = None,
        afresh: bool = False,
        coarse: bool = False,
    ) -> None:
        super().__init__(outputs, noise, state, switch, cache=cache, afresh=afresh, coarse=coarse)
        self.until, self.reference, self.binding = until, reference, binding
        self.states: list[torch.Tensor] = []
        self.answers: list[torch.Tensor] = []
        self.timetable: Timetable | None = None
        self.head: Trajectory | None = None
        self._skip()

    def scheduled(self, scheduler: Any) -> None:
        self.timetable = self.binding.read(scheduler)
        require_switch(self.timetable.times, self.until)

    def step(self, real: Step, output: torch.Tensor, timestep: Any, sample: torch.Tensor) -> torch.Tensor:
        index = self.index
        answer = self.outputs[index].to(output.device) if index < self.answered else output
        if index == self.until:
            # The checks of the start and the switch, which a step would have made.
            self.check(sample)
            answers = [*self.answers, answer] if self.reference else self.answers
            assert self.timetable is not None
            self.head = Trajectory(self.timetable.times, index, tuple(self.states), tuple(answers), sample)
            raise Stop
        self.states.append(sample)
        self.answers.append(answer)
        following = super().step(real, output, timestep, sample)
        self._skip()
        return following

    def _skip(self) -> None:
        self.gate.skip |= self.index == self.until and not self.reference
