"""Schedulers whose solver looks noise levels up in a table, `alphas_cumprod`, by whole timesteps.

Other levels are given to such a solver by changing the table under it: its timesteps become mere positions (*ticks*),
at which the levels of the course are written. The model is still told the timestep that belongs to the level.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import torch

from ....commutator import Path
from ....commutator.steps import require_switch
from ..errors import UnsupportedError
from .binding import Binding, Continuation, Move, Timetable, levels


class Table(Binding):
    """DDPM, LCM, TCD: the following timestep is the next one in `scheduler.timesteps`, so that any ticks will do."""

    def __init__(self, scheduler: Any, path: Path) -> None:
        super().__init__(scheduler, path)
        self.table = levels(scheduler.alphas_cumprod)
        self.end = self._end(scheduler)

    def _end(self, scheduler: Any) -> float:
        """The noise level at which a run ends."""
        return 0.0

    def read(self, scheduler: Any) -> Timetable:
        ticks = scheduler.timesteps.cpu()
        times = (*(float(self.table[t]) for t in ticks), self.end)
        return Timetable(times, ticks, len(self._steps(ticks)))

    def carried(self, high: Timetable, move: Move, switch: int, tail: int | None) -> Continuation:
        steps = self._steps(high.timesteps)
        require_switch([*steps, 0.0], switch)
        rest = self._tail_ticks(steps[switch:], tail)
        fresh = tail is not None and tail != len(steps) - switch and not self._joins(switch)
        table = np.array([move.time_of(float(s)) for s in self.table])
        lowered = self.in_range([*(float(table[t]) for t in rest), move.time_of(self.end)], move)
        table[rest] = lowered[:-1]
        over = self._beyond(rest)
        if over >= 0:
            table[over] = lowered[-1]
        ticks = self._evaluations(rest if fresh else [*steps[:switch], *rest])
        first = 0 if fresh else self.evaluation(switch)
        times = (*(float(table[t]) for t in ticks), lowered[-1])
        known = {float(s): float(t) for t, s in enumerate(self.table)}
        timesteps = self.timesteps(times[first:-1], known, high.timesteps.dtype)
        if len(set(ticks)) < len(self._steps(torch.tensor(ticks))):
            raise UnsupportedError(
                f"{self.name}: {tail} steps after the switch need more timesteps than there are left"
            )
        changed = None if np.array_equal(table, self.table) and lowered[-1] == self.end else table
        made = torch.tensor(ticks)
        return Continuation(times, first, timesteps, made, len(self._steps(made)), high.steps, not fresh, changed)

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

    def _steps(self, ticks: torch.Tensor) -> list[int]:
        return [int(t) for t in ticks]

    def _evaluations(self, steps: list[int]) -> list[int]:
        return steps

    def _tail_ticks(self, ticks: list[int], count: int | None) -> list[int]:
        """`count` of the remaining ticks, evenly spaced, and the places between them where there are none."""
        if count is None or count == len(ticks):
            return ticks
        where = np.arange(count) * len(ticks) / count
        return [round(t) for t in np.interp(where, np.arange(len(ticks) + 1), [*ticks, 0])]

    def _joins(self, switch: int) -> bool:
        """Whether a tail of another spacing can follow the replayed head."""
        return True

    def _beyond(self, ticks: list[int]) -> int:
        """The tick that the solver looks up for the end of the run, or -1 where it takes the end's level."""
        return -1


class Consistency(Table):
    """TCD, whose last step ends at the table's first level."""

    def _end(self, scheduler: Any) -> float:
        return float(self.table[0])

    def _beyond(self, ticks: list[int]) -> int:
        return 0


class Strided(Table):
    """DDIM: the following timestep lies one stride, train // steps, below; the tail's strides are set step by step."""

    def _end(self, scheduler: Any) -> float:
        return float(levels(scheduler.final_alpha_cumprod))

    def before_step(self, scheduler: Any, course: Continuation, index: int) -> None:
        ticks = course.ticks.tolist()
        if course.recorded_steps == len(ticks):
            scheduler.num_inference_steps = len(ticks)
            return
        following = ticks[index + 1] if index + 1 < len(ticks) else -1
        # A fraction, so that train // steps is the stride to the next tick exactly.
        scheduler.num_inference_steps = Fraction(self.train, ticks[index] - following)


class Multistep(Strided):
    """PNDM (pseudo linear multistep, Liu et al. 2022) without Runge-Kutta steps: the first step is evaluated twice.

    Its formula holds for even strides: a tail of other strides starts afresh, with a doubled first step of its own.
    """

    def evaluation(self, step: int) -> int:
        return step if step == 0 else step + 1

    def before_step(self, scheduler: Any, course: Continuation, index: int) -> None:
        ticks = course.ticks.tolist()
        stride = None if course.replayed or len(ticks) < 2 else Fraction(self.train, ticks[0] - ticks[1])
        scheduler.num_inference_steps = course.recorded_steps if stride is None else stride

    def _steps(self, ticks: torch.Tensor) -> list[int]:
        values = [int(t) for t in ticks]
        return values[:1] + values[2:] if len(values) > 2 else values

    def _evaluations(self, steps: list[int]) -> list[int]:
        return [*steps[:2], *steps[1:]]

    def _tail_ticks(self, ticks: list[int], count: int | None) -> list[int]:
        if count is None or count == len(ticks):
            return ticks
        stride = max(1, ticks[0] // count)
        return [ticks[0] - i * stride for i in range(count)]

    def _joins(self, switch: int) -> bool:
        return False

    def _beyond(self, ticks: list[int]) -> int:
        return 2 * ticks[-1] - ticks[-2] if len(ticks) > 1 else -1
