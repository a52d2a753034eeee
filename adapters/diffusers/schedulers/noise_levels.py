"""Schedulers whose solver reads a list of noise levels, `scheduler.sigmas`: any levels can be put into it.

Nearly every flow pipeline gives its model t = sigma. CogView4 gives it the time before the shift, t with
sigma = k / (k + 1/t - 1), k depending on the resolution (Esser et al. 2024, equation 23). k is read off the schedule
that the pipeline makes for itself at that resolution.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch

from ....commutator import stage_times
from ...errors import UnsupportedError
from .binding import Binding, Continuation, Move, Timetable

MINIMUM_STEPS = 2  # of a schedule that k can be read off: the first, at the noisy end, says nothing


def shift_of(scheduler: Any) -> float | None:
    """k of the schedule that the scheduler holds; None where it tells its model the noise levels themselves.

    Raises UnsupportedError where its times and noise levels have no such k.
    """
    model_times = (scheduler.timesteps.double() / scheduler.config.num_train_timesteps).cpu()
    level = scheduler.sigmas[: len(model_times)].double().cpu()
    if torch.allclose(model_times, level, rtol=1e-4, atol=1e-5):
        return None
    inner = (model_times > 0) & (model_times < 1) & (level > 0) & (level < 1)
    ratios = (1 / model_times[inner] - 1) * level[inner] / (1 - level[inner])
    if not len(ratios) or not torch.allclose(ratios, ratios.median(), rtol=1e-2):
        raise UnsupportedError(
            f"{type(scheduler).__name__} tells the model times that do not follow from its noise levels by a shift; "
            "leave out shift_terminal and given timesteps"
        )
    return float(ratios.median())


def shifted_timesteps(scheduler: Any, sigmas: Sequence[float], k: float) -> torch.Tensor:
    """Timesteps of `sigmas` for the model, t = 1 / (1 + k (1/sigma - 1)), in units of the scheduler."""
    model_times = 1 / (1 + k * (1 / torch.tensor(sigmas, dtype=torch.float64) - 1))
    return (model_times * scheduler.config.num_train_timesteps).to(torch.float32)


class NoiseLevels(Binding):
    """One evaluation per step at `sigmas[i]`: Euler, LMS, DPM-Solver++, UniPC, DEIS, SA-Solver."""

    def read(self, scheduler: Any) -> Timetable:
        return self._timetable(scheduler, [float(s) for s in scheduler.sigmas])

    def carried(self, high: Timetable, move: Move, switch: int, tail: int | None) -> Continuation:
        steps = self._steps(high.times)
        rest = self.in_range(stage_times(move, steps, switch, tail), move)
        levels = [*(move.time_of(t) for t in steps[:switch]), *rest]
        times, at = tuple(self._evaluations(levels)), self.evaluation(switch)
        known = dict(zip(high.times, high.timesteps.tolist()))
        timesteps = self.timesteps(times[at:-1], known, high.timesteps.dtype)
        dtype = torch.promote_types(timesteps.dtype, high.timesteps.dtype)
        solver = torch.cat([high.timesteps[:at].to(dtype).cpu(), timesteps.to(dtype)])
        return Continuation(times, at, timesteps, solver, len(levels) - 1, high.steps)

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
        shift_of(scheduler)  # refused before anything is evaluated
        return super().read(scheduler)

    def model_timesteps(self, scheduler: Any, course: Continuation) -> torch.Tensor:
        k = shift_of(scheduler)
        return course.model_timesteps if k is None else shifted_timesteps(scheduler, course.tail[:-1], k)


class Singlestep(NoiseLevels):
    """DPM-Solver++ in its single-step form: steps of growing order in blocks, listed by `order_list`.

    The head keeps the orders it was made with; the tail ends as a run of its length ends.
    """

    def place(self, scheduler: Any, course: Continuation) -> None:
        super().place(scheduler, course)
        switch, steps = course.switch, len(course.solver_timesteps)
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
