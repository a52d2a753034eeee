"""Heads walked by a real scheduler with random answers, and what its solver makes of them after transport."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch

from commutant.adapters.diffusers.layout import Layout
from commutant.adapters.diffusers.noise import FreshNoise, StepNoise
from commutant.adapters.diffusers.schedulers import Binding, Timetable, binding_of
from commutant.adapters.diffusers.stage import Course, Schedules, StageLoop
from commutant.commutator import Plan, Trajectory, Transport
from commutant.operators import LinearOperator

GRID = (3, 12, 8)


def identity(grid: tuple[int, ...]) -> Layout:
    order = torch.arange(grid[0] * grid[1] * grid[2])
    return Layout(grid, grid, order, order)


def stepper(scheduler: Any, generator: torch.Generator | None, arguments: dict[str, Any]) -> Callable[..., Any]:
    """`scheduler.step` as a pipeline calls it."""
    taken = inspect.signature(scheduler.step).parameters
    extra = {k: v for k, v in {"generator": generator, **arguments}.items() if k in taken}

    def real(output: Any, t: Any, state: Any) -> Any:
        return scheduler.step(output, t, state, return_dict=False, **extra)[0]

    return real


def recorded(
    scheduler: Any, steps: int, switch: int, dtype: torch.dtype, seed: int, arguments: dict[str, Any] | None = None
) -> tuple[Trajectory, Timetable, list[torch.Tensor | None], Binding]:
    """A head of `switch` steps that the real scheduler walked, its schedule, and the noise it drew."""
    generator = torch.Generator().manual_seed(seed)
    scheduler.set_timesteps(steps)
    binding = binding_of(scheduler)
    timetable, at = binding.read(scheduler), binding.evaluation(switch)
    real = stepper(scheduler, generator, arguments or {})
    x = torch.randn(2, *GRID, generator=generator, dtype=torch.float64).to(dtype)
    if binding.path.alpha(timetable.times[0]) == 1:  # states of variance-exploding solvers
        x = x * timetable.times[0]
    states, outputs, noises = [], [], []
    for t in scheduler.timesteps[:at]:
        states.append(x)
        outputs.append(torch.randn(2, *GRID, generator=generator, dtype=torch.float64).to(dtype))
        scheduler.is_scale_input_called = True
        with StepNoise() as drawn:
            x = real(outputs[-1], t, x)
        noises.append(drawn.drawn())
    outputs.append(torch.randn(2, *GRID, generator=generator, dtype=torch.float64).to(dtype))  # at the switch
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    head = Trajectory(
        timetable.times, at, tuple(s.to(wide) for s in states), tuple(o.to(wide) for o in outputs), x.to(wide)
    )
    return head, timetable, noises, binding


def arrived(
    scheduler: Any,
    plan: Plan,
    operator: LinearOperator,
    steps: int,
    dtype: torch.dtype,
    seed: int,
    arguments: dict[str, Any] | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """(state by replay through the real scheduler, state by transport), at low resolution in the solver's dtype."""
    head, timetable, noises, binding = recorded(scheduler, steps, plan.head, dtype, seed, arguments)
    transport = Transport.of(operator, binding.path, head.state.shape, plan.stages[0].time)
    low = identity(tuple(operator.out_shape(GRID)))
    fresh = FreshNoise([None if n is None else n.to(head.state.dtype) for n in noises])
    course = Course.of_stage(Schedules(plan, binding, (transport,)), 0, head, timetable, plan.head)
    loop = StageLoop(course, head, low, dtype, fresh)
    scheduler.set_timesteps(steps)
    scheduler.is_scale_input_called = True
    loop.scheduled(scheduler)
    loop._real, loop._move = stepper(scheduler, None, arguments or {}), transport
    replayed = loop.replayed()
    assert getattr(scheduler, "step_index", None) in (None, head.switch)
    return replayed, low.solver(transport.state(head.state, head.times[head.switch]), dtype)


def distance(a: torch.Tensor, b: torch.Tensor) -> float:
    """The largest difference, relative to the largest value."""
    return float((a - b).abs().max()) / float(b.abs().max() + 1)
