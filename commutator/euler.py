"""A plan driven by the Euler method and a closed-form field: the reference that needs no framework.

Adapters answer the same conversation with a user's own model and sampler; tests compare them with this.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .fields import Field
from .path import Path
from .plan import Plan
from .preview import Advance, Conversation, Enter, Evaluate, Head, Query, head, tail
from .transport import Transport

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
    """Run `plan` from `noise` (batch, ..., height, width) over the `times` of the final, with Euler steps.

    Raises ValueError as `Plan`, `Transport.of` and `tail_times` do.
    """
    recorded, high, _, _ = _drive(head(plan, times, Query(noise, times[0])), path, field, times, noise)
    conversation = tail(plan, path, recorded)
    latent, low, transport = _drive_tail(conversation, plan, path, field, recorded)
    return Result(latent, recorded, high, low, transport)


def finish(path: Path, field: Field, noise: Array, times: Sequence[float], outputs: Sequence[Array] = ()) -> Array:
    """The plain high-resolution run; its first answers come from `outputs` where they were recorded."""
    x = noise
    for i, t in enumerate(times[:-1]):
        output = outputs[i] if i < len(outputs) else path.output(field.denoised(x, t), x, t)
        x = euler_step(path, output, x, t, times[i + 1])
    return x


def replay(transport: Transport, path: Path, recorded: Head) -> Array:
    """The low-resolution state at the switch, reached by feeding the transported answers to the low-resolution solver.

    Equal to `transport.state` at the switch: bit for bit for noise gain 1, to rounding otherwise.
    """
    y = transport.noise(recorded.noise)
    for i in range(recorded.switch):
        t, t_next = transport.moved(recorded.times[i]), transport.moved(recorded.times[i + 1])
        output = transport.output(recorded.outputs[i], recorded.states[i], recorded.times[i])
        y = euler_step(path, output, y, t, t_next)
    return y


def _drive(
    conversation: Any, path: Path, field: Field, times: Sequence[float], x: Array
) -> tuple[Any, int, Array, Transport | None]:
    """Answer a conversation with Euler steps over `times`; returns (its result, evaluations, last state, transport)."""
    evaluations, step, transport = 0, 0, None
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


def _drive_tail(
    conversation: Conversation, plan: Plan, path: Path, field: Field, recorded: Head
) -> tuple[Array, int, Transport]:
    from .schedule import tail_times

    shape = tuple(recorded.state.shape)
    moved = Transport.of(plan.operators()[0], path, shape, plan.time)
    lows = tail_times(moved, recorded.times, recorded.switch, plan.tail)
    _, low, latent, transport = _drive(conversation, path, field, lows, recorded.state)
    assert transport is not None, "a tail always enters low resolution"
    return latent, low, transport
