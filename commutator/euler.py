"""A plan driven by the Euler method and a closed-form field: the reference that needs no framework.

Adapters answer the same conversation with a user's own model and sampler; tests compare them with this.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from .conversation import Advance, Conversation, Enter, Evaluate, Head, Query, head, shown, tail
from .fields import Field
from .path import Path
from .plan import Guidance, Plan
from .steps import tail_times
from .transform import Manipulation
from .transport import Motion, Transport

Array = Any


def euler_step(path: Path, output: Array, x: Array, t: float, t_next: float) -> Array:
    """One Euler step in denoised form: move along the path's straight chord at fixed `x0hat` and noise estimate.

    `x' = (sigma'/sigma) x + (alpha' - alpha sigma'/sigma) x0hat`: DDIM; on a rectified flow it equals
    `x + (t' - t) v` and that is how it is computed there, as FlowMatchEuler does.
    """
    if path.name == "rectified-flow":
        return x + (t_next - t) * output
    denoised = path.denoised(output, x, t)
    ratio = path.sigma(t_next) / path.sigma(t)
    return ratio * x + (path.alpha(t_next) - path.alpha(t) * ratio) * denoised


@dataclass
class Result:
    """What a driven plan returns: the low-resolution end state, the recorded head, and exact counts of evaluations."""

    latent: Array
    head: Head
    high_evaluations: int
    low_evaluations: int
    transport: Transport


def preview(plan: Plan, path: Path, field: Field, noise: Array, times: Sequence[float]) -> Result:
    """Run `plan` from `noise` (batch, ..., height, width) with Euler steps.

    `times` is the schedule of the head: the final's own, or one of `plan.head_steps` steps where the plan asks for it.
    Raises ValueError for another number of steps than that, and as `Plan`, `Transport.of` and `tail_times` do.
    """
    recorded, high, lows = record(plan, path, field, noise, times)
    if plan.tail == 0:
        return Result(
            shown(path, recorded), recorded, high, 0, Transport.of(plan.operators()[0], path, noise.shape, plan.time)
        )
    _, low, latent, transport = drive(tail(plan, path, recorded), path, field, lows)
    assert isinstance(transport, Transport), "a tail always enters low resolution"
    return Result(latent, recorded, high, low, transport)


def record(plan: Plan, path: Path, field: Field, noise: Array, times: Sequence[float]) -> tuple[Head, int, list[float]]:
    """The head of `plan`: (its record, its evaluations, the times of the tail); raises ValueError as `preview`."""
    if plan.head_steps is not None and len(times) != plan.head_steps + 1:
        raise ValueError(f"the plan's head runs on {plan.head_steps} steps, got a schedule of {len(times) - 1}")
    recorded, evaluations, _, _ = drive(head(plan, path, times, Query(noise, times[0])), path, field, times)
    transport = Transport.of(plan.operators()[0], path, noise.shape, plan.time)
    lows = [] if plan.tail == 0 else tail_times(transport, times, recorded.switch, plan.tail)
    return recorded, evaluations, lows


def move(
    manipulation: Manipulation, path: Path, field: Field, noise: Array, times: Sequence[float], seeds: Sequence[int]
) -> Array:
    """The end state of a run from `noise` that is moved as `manipulation` says; raises ValueError as that does."""
    plan = Plan(switch=manipulation.switch, guidance=Guidance("defect", 1, 1.0))  # its head ends with that answer
    recorded, _, _, _ = drive(head(plan, path, times, Query(noise, times[0])), path, field, times)
    _, _, latent, _ = drive(manipulation.moved(path, recorded, seeds), path, field, times[manipulation.switch :])
    return latent


def finish(path: Path, field: Field, noise: Array, times: Sequence[float], outputs: Sequence[Array] = ()) -> Array:
    """The plain high-resolution run; its first answers come from `outputs` where they were recorded."""
    x = noise
    for i, t in enumerate(times[:-1]):
        output = outputs[i] if i < len(outputs) else path.output(field.denoised(x, t), x, t)
        x = euler_step(path, output, x, t, times[i + 1])
    return x


def trajectory(path: Path, field: Field, x: Array, times: Sequence[float]) -> list[Array]:
    """The states of a plain run from `x`, one at every time."""
    states = [x]
    for t, t_next in pairwise(times):
        x = euler_step(path, path.output(field.denoised(x, t), x, t), x, t, t_next)
        states.append(x)
    return states


def replay(transport: Transport | Motion, path: Path, recorded: Head) -> Array:
    """The transported state at the switch, reached by feeding the transported answers to the solver.

    At matched time it equals `transport.state` at the switch: bit for bit for noise gain 1, to rounding otherwise. At
    the same time (gain other than 1) it does not: there the state is split into signal and noise anew at every time.
    """
    y = transport.start(recorded.noise, recorded.times[0])
    for i in range(recorded.switch):
        t, t_next = transport.moved(recorded.times[i]), transport.moved(recorded.times[i + 1])
        output = transport.output(recorded.outputs[i], recorded.states[i], recorded.times[i])
        y = euler_step(path, output, y, t, t_next)
    return y


def drive(
    conversation: Conversation, path: Path, field: Field, times: Sequence[float]
) -> tuple[Any, int, Array, Transport | Motion | None]:
    """Answer a conversation with Euler steps on `times`; returns (its result, evaluations, last state, transport)."""
    evaluations, step, x = 0, 0, None
    transport: Transport | Motion | None = None
    reply: Any = None
    while True:
        try:
            request = conversation.send(reply)
        except StopIteration as stop:
            return stop.value, evaluations, x, transport
        reply = None
        if isinstance(request, Evaluate):
            evaluations += 1
            reply = path.output(field.denoised(request.x, request.t), request.x, request.t)
        elif isinstance(request, Enter):
            transport = request.transport
        elif isinstance(request, Advance):
            x = euler_step(path, request.output, request.x, times[step], times[step + 1])
            step += 1
            reply = Query(x, times[step])
