"""What the adapter must know of a scheduler, whatever its solver: its path, its times, and how to be given others.

A pipeline walks a list of *timesteps* and evaluates its model once at each. The solver behind `scheduler.step` has
lists of its own: noise levels, or indices into a table. A binding reads both after `set_timesteps`, and puts a changed
schedule back into both: a transported head, from which the solver gets its history, and the tail.

Solvers with two evaluations per step have a time per evaluation here; *steps* are counted as the user counts them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch

from ....commutator import Motion, Path, Stay, Transports
from ....commutator.steps import require_switch
from ...errors import UnsupportedError

Move = Transports | Motion
FIRST_ORDER = ("FlowMatchEulerDiscreteScheduler", "EulerDiscreteScheduler", "DDIMScheduler")


@dataclass(frozen=True)
class Timetable:
    """The schedule of a run, as its scheduler set it.

    Attributes:
        times: of the model evaluations, and of the end, in the path's unit.
        timesteps: what the pipeline tells its model, one per evaluation. steps: as the scheduler counts them.
    """

    times: tuple[float, ...]
    timesteps: torch.Tensor
    steps: int


@dataclass(frozen=True)
class Continuation:
    """A schedule on which a recorded head is transported and continued.

    Attributes:
        times: of the evaluations of head and tail, and of the end. switch: the index of the tail's first evaluation.
        model_timesteps: what the model gets as its time, from the switch on. solver_timesteps: what `scheduler.step`
            gets, the history included.
        steps: of head and tail. recorded_steps: of the run that the head was recorded from.
        replayed: whether the head is replayed; otherwise the solver starts afresh at the switch.
        table: noise levels of all timesteps, for solvers that look them up, where they differ from the model's.
    """

    times: tuple[float, ...]
    switch: int
    model_timesteps: torch.Tensor
    solver_timesteps: torch.Tensor
    steps: int = 1
    recorded_steps: int = 1
    replayed: bool = True
    table: np.ndarray | None = None

    @property
    def tail(self) -> tuple[float, ...]:
        """The times of the tail's evaluations, and the end."""
        return self.times[self.switch :]


class Binding(ABC):
    """A scheduler instance as a path and a schedule. Reads its configuration only; see the subclasses for solvers."""

    evaluations_per_step: ClassVar[int] = 1
    changes_spacing: ClassVar[bool] = True  # whether its history serves steps of another spacing

    def __init__(self, scheduler: Any, path: Path) -> None:
        self.path = path
        self.name = type(scheduler).__name__
        self.config = scheduler.config
        self.train = int(scheduler.config.num_train_timesteps)
        # One answer a step, no memory, no fresh noise: Euler and DDIM.
        self.first_order = self.name in FIRST_ORDER and not scheduler.config.get("stochastic_sampling", False)
        self.levels: np.ndarray | None = None  # the noise-to-signal ratio of each timestep the model was trained on
        if path.name != "rectified-flow":
            self.levels = levels(scheduler.alphas_cumprod)

    @property
    def latest(self) -> float:
        """The largest time that the model was trained at."""
        return 1.0 if self.levels is None else float(self.levels[-1])

    def evaluation(self, step: int) -> int:
        """The index of the evaluation with which a step begins."""
        return step * self.evaluations_per_step

    def evaluations(self, steps: int) -> int:
        """Evaluations of a run of `steps` steps. The last step needs but one: it ends without noise."""
        return self.evaluation(steps - 1) + 1

    @abstractmethod
    def read(self, scheduler: Any) -> Timetable:
        """The schedule that `set_timesteps` has just made."""

    @abstractmethod
    def carried(self, high: Timetable, move: Move, switch: int, tail: int | None) -> Continuation:
        """The schedule of a preview: the head up to step `switch` moved, and a tail of `tail` steps (None: the rest).

        Raises UnsupportedError where the scheduler or the range of the model does not allow it.
        """

    def coarser(self, high: Timetable, switch: int, steps: int | None) -> Timetable:
        """The run up to step `switch` and then in `steps` steps, evenly spaced in index, at the same resolution.

        Raises UnsupportedError where the solver cannot go on from its history on such a schedule.
        """
        course = self.carried(high, Transports((Stay(),)), switch, steps)
        if not course.replayed:
            raise UnsupportedError(
                f"{self.name} begins anew where the spacing of its steps changes: use a plan of one stage, or "
                "DPMSolverMultistepScheduler"
            )
        return Timetable(course.times, course.solver_timesteps, high.steps)

    def same(self, high: Timetable, switch: int) -> Continuation:
        """The recorded schedule itself, continued at the evaluation `switch`."""
        require_switch(high.times, switch)
        return Continuation(high.times, switch, high.timesteps[switch:], high.timesteps, high.steps, high.steps)

    def begin(self, scheduler: Any, course: Continuation) -> torch.Tensor:
        """Give the scheduler the whole course, standing at the switch; the pipeline may then scale its first input.

        Called when the pipeline has set a schedule of its own. Returns what the model gets as its time from the switch
        on.
        """
        timesteps = self.model_timesteps(scheduler, course)
        self.place(scheduler, course)
        at(scheduler, course.switch if course.replayed else 0)
        return timesteps

    def model_timesteps(self, scheduler: Any, course: Continuation) -> torch.Tensor:
        """What the model gets as its time from the switch on; the pipeline has just set the scheduler's own times."""
        return course.model_timesteps

    def rewind(self, scheduler: Any, course: Continuation, length: int) -> None:
        """Stand at the beginning of the head. `length`: evaluations of the run it was recorded from.

        Solvers lower their order towards the end of `timesteps`: the head must be replayed as far from the end as it
        was made.
        """
        scheduler.timesteps = padded(course.solver_timesteps, length).to(scheduler.timesteps.device)
        scheduler.num_inference_steps = course.recorded_steps
        at(scheduler, 0)

    def resume(self, scheduler: Any, course: Continuation) -> None:
        """Stand at the switch, the head replayed."""
        scheduler.timesteps = course.solver_timesteps.to(scheduler.timesteps.device)
        scheduler.num_inference_steps = course.steps

    def before_step(self, scheduler: Any, course: Continuation, index: int) -> None:
        """What the solver needs before its step at evaluation `index` of the tail; for most, nothing."""
        return

    @abstractmethod
    def place(self, scheduler: Any, course: Continuation) -> None:
        """Give the solver the noise levels of the course."""

    def alone(self, t: float) -> Continuation:
        """A schedule of one evaluation at time `t`."""
        timestep = self.timesteps([t], {}, torch.float32)
        return Continuation((t, 0.0), 0, timestep, timestep)

    def timesteps(self, times: Sequence[float], known: Mapping[float, float], dtype: torch.dtype) -> torch.Tensor:
        """What the model gets for `times`: as `known` has it, or between two timesteps of its training."""
        values = [known[t] if t in known else self.timestep(t) for t in times]
        whole = all(float(t).is_integer() for t in values)
        return torch.tensor(values, dtype=dtype if dtype.is_floating_point or whole else torch.float32)

    def timestep(self, t: float) -> float:
        """The (fractional) timestep of time `t`, linear in its logarithm between the trained ones."""
        if self.levels is None:
            return float(torch.tensor(t, dtype=torch.float32) * self.train)
        return float(np.interp(np.log(max(t, 1e-12)), np.log(self.levels), np.arange(len(self.levels))))

    def in_range(self, times: Sequence[float], move: Move) -> list[float]:
        """Moved times of a tail, none of its evaluations below the smallest noise level of the training.

        Where the last would lie below, the times are drawn together, linearly in log t, the first kept.
        Raises UnsupportedError where the first lies below already.
        """
        times = list(times)
        if self.levels is None or move.time_of(times[0]) == times[0]:
            return times
        return drawn_together(times, float(self.levels[0]), self.name)


def drawn_together(times: list[float], least: float, name: str) -> list[float]:
    """`times` (the end last) with all but the end at or above `least`; see `Binding.in_range`."""
    first, last = times[0], times[-2]
    if first < least or (last < least and len(times) < 3):
        raise UnsupportedError(
            f"{name}: the switch is so late that the matched noise level {first:.4g} lies below the smallest that the "
            f"model was trained at, {least:.4g}; switch earlier, or use operator 'strided'"
        )
    if last >= least:
        return times
    slope = np.log(least / first) / np.log(last / first)
    kept = [first, *(float(first * (t / first) ** slope) for t in times[1:-2]), least]
    return [*kept, times[-1]]


def levels(alphas_cumprod: torch.Tensor) -> np.ndarray:
    """sigma / alpha of each trained timestep. A table that ends in pure noise (alpha = 0) ends in 1e9 here."""
    a = np.asarray(alphas_cumprod.detach().cpu(), dtype=np.float64)
    return np.sqrt((1 - a) / np.maximum(a, 1e-18))


def at(scheduler: Any, index: int) -> None:
    """Let a solver that counts its evaluations stand at one of them."""
    if hasattr(scheduler, "_step_index"):
        scheduler._step_index = index


def padded(timesteps: torch.Tensor, length: int) -> torch.Tensor:
    """At least `length` timesteps, the last one repeated."""
    missing = length - len(timesteps)
    return timesteps if missing <= 0 else torch.cat([timesteps, timesteps[-1:].expand(missing)])
