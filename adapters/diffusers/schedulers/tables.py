"""Schedulers whose solver looks noise levels up in a table, `alphas_cumprod`, by whole timesteps.

Other levels are given to such a solver by changing the table under it: its timesteps become mere positions,
at which the levels of the course are written. The model still gets the timestep that belongs to the level.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any, ClassVar

import numpy as np
import torch

from ....commutator import Path
from ....commutator.steps import require_switch
from ...errors import UnsupportedError
from .binding import Binding, Continuation, Move, Timetable, levels


class Table(Binding):
    """DDPM, LCM, TCD: the following timestep is the next one in `scheduler.timesteps`, so any will do."""

    def __init__(self, scheduler: Any, path: Path) -> None:
        super().__init__(scheduler, path)
        self.table = levels(scheduler.alphas_cumprod)
        self.end = self._end(scheduler)

    def _end(self, scheduler: Any) -> float:
        """The noise level at which a run ends."""
        return 0.0

    def read(self, scheduler: Any) -> Timetable:
        timesteps = scheduler.timesteps.cpu()
        times = (*(float(self.table[t]) for t in timesteps), self.end)
        return Timetable(times, timesteps, len(self._steps(timesteps)))

    def carried(self, high: Timetable, move: Move, switch: int, tail: int | None) -> Continuation:
        steps = self._steps(high.timesteps)
        require_switch([*steps, 0.0], switch)
        rest = self._rest(steps[switch:], tail)
        fresh = tail is not None and tail != len(steps) - switch and not self._joins(switch)
        table = np.array([move.time_of(float(s)) for s in self.table])
        lowered = self.in_range([*(float(table[t]) for t in rest), move.time_of(self.end)], move)
        table[rest] = lowered[:-1]
        over = self._beyond(rest)
        if over >= 0:
            table[over] = lowered[-1]
        timesteps = self._evaluations(rest if fresh else [*steps[:switch], *rest])
        first = 0 if fresh else self.evaluation(switch)
        times = (*(float(table[t]) for t in timesteps), lowered[-1])
        known = {float(s): float(t) for t, s in enumerate(self.table)}
        model = self.timesteps(times[first:-1], known, high.timesteps.dtype)
        if len(set(timesteps)) < len(self._steps(torch.tensor(timesteps))):
            raise UnsupportedError(
                f"{self.name}: {tail} steps after the switch need more timesteps than there are left"
            )
        changed = None if np.array_equal(table, self.table) and lowered[-1] == self.end else table
        made = torch.tensor(timesteps)
        return Continuation(times, first, model, made, len(self._steps(made)), high.steps, not fresh, changed)

    def place(self, scheduler: Any, course: Continuation) -> None:
        if course.table is not None:
            old = scheduler.alphas_cumprod
            scheduler.alphas_cumprod = torch.as_tensor(1 / (1 + course.table**2), dtype=old.dtype, device=old.device)
            if hasattr(scheduler, "final_alpha_cumprod"):
                final = scheduler.final_alpha_cumprod
                scheduler.final_alpha_cumprod = torch.as_tensor(1 / (1 + course.times[-1] ** 2), dtype=final.dtype)

    def alone(self, t: float) -> Continuation:
        timestep = self.timesteps([t], {float(s): float(i) for i, s in enumerate(self.table)}, torch.int64)
        return Continuation((t, 0.0), 0, timestep, torch.zeros(1, dtype=torch.int64))

    def _steps(self, timesteps: torch.Tensor) -> list[int]:
        return [int(t) for t in timesteps]

    def _evaluations(self, steps: list[int]) -> list[int]:
        return steps

    def _rest(self, timesteps: list[int], count: int | None) -> list[int]:
        """`count` of the remaining timesteps, evenly spaced, and the places between them where there are none."""
        if count is None or count == len(timesteps):
            return timesteps
        where = np.arange(count) * len(timesteps) / count
        return [round(t) for t in np.interp(where, np.arange(len(timesteps) + 1), [*timesteps, 0])]

    def _joins(self, switch: int) -> bool:
        """Whether a tail of another spacing can follow the replayed head."""
        return True

    def _beyond(self, timesteps: list[int]) -> int:
        """The timestep that the solver looks up for the end of the run, or -1 where it takes the end's level."""
        return -1


class Consistency(Table):
    """TCD, whose last step ends at the table's first level."""

    def _end(self, scheduler: Any) -> float:
        return float(self.table[0])

    def _beyond(self, timesteps: list[int]) -> int:
        return 0


class Strided(Table):
    """DDIM: the following timestep lies one stride, train // steps, below; the tail's strides are set step by step."""

    def _end(self, scheduler: Any) -> float:
        return float(levels(scheduler.final_alpha_cumprod))

    def before_step(self, scheduler: Any, course: Continuation, index: int) -> None:
        timesteps = course.solver_timesteps.tolist()
        if course.recorded_steps == len(timesteps):  # the run's own strides
            scheduler.num_inference_steps = len(timesteps)
            return
        following = timesteps[index + 1] if index + 1 < len(timesteps) else -1
        # A fraction, so that train // steps is the stride to the next timestep exactly.
        scheduler.num_inference_steps = Fraction(self.train, timesteps[index] - following)


class Multistep(Strided):
    """PNDM (pseudo linear multistep, Liu et al. 2022) without Runge-Kutta steps: the first step is evaluated twice.

    Its formula holds for even strides: a tail of other strides starts afresh, with a doubled first step of its own.
    """

    changes_spacing: ClassVar[bool] = False

    def evaluation(self, step: int) -> int:
        return step if step == 0 else step + 1

    def before_step(self, scheduler: Any, course: Continuation, index: int) -> None:
        timesteps = course.solver_timesteps.tolist()
        stride = None if course.replayed or len(timesteps) < 2 else Fraction(self.train, timesteps[0] - timesteps[1])
        scheduler.num_inference_steps = course.recorded_steps if stride is None else stride

    def _steps(self, timesteps: torch.Tensor) -> list[int]:
        values = [int(t) for t in timesteps]
        return values[:1] + values[2:] if len(values) > 2 else values

    def _evaluations(self, steps: list[int]) -> list[int]:
        return [*steps[:2], *steps[1:]]

    def _rest(self, timesteps: list[int], count: int | None) -> list[int]:
        if count is None or count == len(timesteps):
            return timesteps
        stride = max(1, timesteps[0] // count)
        return [timesteps[0] - i * stride for i in range(count)]

    def _joins(self, switch: int) -> bool:
        return self.changes_spacing

    def _beyond(self, timesteps: list[int]) -> int:
        return 2 * timesteps[-1] - timesteps[-2] if len(timesteps) > 1 else -1
