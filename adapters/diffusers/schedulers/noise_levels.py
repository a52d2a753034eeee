"""Schedulers whose solver reads a list of noise levels, `scheduler.sigmas`: any levels can be put into it."""

from __future__ import annotations

from typing import Any, ClassVar

import torch

from ....commutator import stage_times
from . import clock
from .binding import Binding, Continuation, Move, Timetable


class NoiseLevels(Binding):
    """One evaluation per step at `sigmas[i]`: Euler, LMS, DPM-Solver++, UniPC, DEIS, SA-Solver."""

    def read(self, scheduler: Any) -> Timetable:
        return self._timetable(scheduler, [float(s) for s in scheduler.sigmas])

    def carried(self, high: Timetable, move: Move, switch: int, tail: int | None) -> Continuation:
        steps = self._steps(high.times)
        rest = self.in_range(stage_times(move, steps, switch, tail), move)  # type: ignore[arg-type]
        levels = [*(move.time_of(t) for t in steps[:switch]), *rest]
        times, at = tuple(self._evaluations(levels)), self.evaluation(switch)
        known = dict(zip(high.times, high.timesteps.tolist()))
        timesteps = self.timesteps(times[at:-1], known, high.timesteps.dtype)
        dtype = torch.promote_types(timesteps.dtype, high.timesteps.dtype)
        ticks = torch.cat([high.timesteps[:at].to(dtype).cpu(), timesteps.to(dtype)])
        return Continuation(times, at, timesteps, ticks, len(levels) - 1, high.steps)

    def place(self, scheduler: Any, course: Continuation) -> None:
        scheduler.sigmas = torch.tensor(course.times, dtype=torch.float32, device=scheduler.sigmas.device)

    def _timetable(self, scheduler: Any, times: list[float]) -> Timetable:
        return Timetable(tuple(times), scheduler.timesteps.cpu(), len(self._steps(tuple(times))) - 1)

    def _steps(self, times: tuple[float, ...]) -> list[float]:
        """The times of the steps, and the end, from those of the evaluations."""
        return list(times)

    def _evaluations(self, steps: list[float]) -> list[float]:
        return steps


class FlowLevels(NoiseLevels):
    """FlowMatchEuler, whose pipelines may tell their model the time before the shift of the noise levels."""

    def read(self, scheduler: Any) -> Timetable:
        clock.shift(scheduler)  # refused before anything is evaluated
        return super().read(scheduler)

    def told(self, scheduler: Any, course: Continuation) -> torch.Tensor:
        k = clock.shift(scheduler)
        return course.timesteps if k is None else clock.timesteps(scheduler, course.tail[:-1], k)


class Singlestep(NoiseLevels):
    """DPM-Solver++ in its single-step form: steps of growing order in blocks, listed by `order_list`.

    The head keeps the orders it was made with; the tail ends as a run of its length ends.
    """

    def place(self, scheduler: Any, course: Continuation) -> None:
        super().place(scheduler, course)
        switch, steps = course.switch, len(course.ticks)
        head = scheduler.get_order_list(course.recorded_steps) if switch else []
        scheduler.order_list = [*head[:switch], *scheduler.get_order_list(steps)[switch:]]


class Heun(NoiseLevels):
    """Two evaluations per step, the second at the next step's level: Heun in noise levels or in flow time."""

    evaluations_per_step: ClassVar[int] = 2

    def _steps(self, times: tuple[float, ...]) -> list[float]:
        return [*times[:-1:2], times[-1]]

    def _evaluations(self, steps: list[float]) -> list[float]:
        return [steps[0], *(t for t in steps[1:-1] for _ in range(2)), steps[-1]]


class Midpoint(NoiseLevels):
    """KDPM2: two evaluations per step, the second half way to the next level in its logarithm."""

    evaluations_per_step: ClassVar[int] = 2

    def read(self, scheduler: Any) -> Timetable:
        return self._timetable(scheduler, self._times(scheduler.sigmas, scheduler.sigmas_interpol))

    def place(self, scheduler: Any, course: Continuation) -> None:
        device = scheduler.sigmas.device
        for name, values in self._lists(self._steps(course.times)).items():
            setattr(scheduler, name, values.to(device))

    def _steps(self, times: tuple[float, ...]) -> list[float]:
        return [*times[:-1:2], times[-1]]

    def _evaluations(self, steps: list[float]) -> list[float]:
        lists = self._lists(steps)
        return self._times(lists["sigmas"], lists["sigmas_interpol"])

    def _lists(self, steps: list[float]) -> dict[str, torch.Tensor]:
        """The scheduler's lists of levels (two entries per level but the first) for the levels of the steps."""
        levels = torch.tensor(steps, dtype=torch.float32)
        between = levels.log().lerp(levels.roll(1).log(), 0.5).exp()
        return {"sigmas": _doubled(levels), "sigmas_interpol": _doubled(between)}

    def _times(self, levels: torch.Tensor, between: torch.Tensor) -> list[float]:
        return [float(between[i] if i % 2 else levels[i]) for i in range(len(levels) - 3)] + [float(levels[-1])]


class AncestralMidpoint(Midpoint):
    """KDPM2Ancestral: the step goes down below the next level and noise comes up to it; half way is to the former."""

    def _lists(self, steps: list[float]) -> dict[str, torch.Tensor]:
        levels = torch.tensor(steps, dtype=torch.float32)
        following = torch.cat([levels[1:], torch.zeros(1)])
        up = (following**2 * (levels**2 - following**2) / levels**2) ** 0.5
        down = (following**2 - up**2) ** 0.5
        down[-1] = 0.0
        between = levels.log().lerp(down.log(), 0.5).exp()
        between[-2:] = 0.0
        lists = {"sigmas": levels, "sigmas_interpol": between, "sigmas_up": up, "sigmas_down": down}
        return {name: _doubled(values) for name, values in lists.items()}

    def _times(self, levels: torch.Tensor, between: torch.Tensor) -> list[float]:
        return [float(between[i - 1] if i % 2 else levels[i]) for i in range(len(levels) - 3)] + [float(levels[-1])]


def _doubled(values: torch.Tensor) -> torch.Tensor:
    return torch.cat([values[:1], values[1:].repeat_interleave(2), values[-1:]])
