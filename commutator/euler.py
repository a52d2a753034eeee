"""A plan driven by the Euler method and a closed-form field: the reference that needs no framework.

Adapters answer the same conversation with a user's own model and sampler; tests compare them with this.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from ..operators import LinearOperator
from ..operators.arrays import Array
from .conversation import Advance, Conversation, Enter, Evaluate, Query, Trajectory, run_head, run_stage, shown
from .fields import Field
from .path import Path
from .plan import Plan, Stage
from .steps import stage_times
from .transform import Transform
from .transport import Motion, Stay, Transport, Transports


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
    """What a driven plan returns.

    Attributes:
        latent: the end state, at the resolution of the last stage. head: the run from the noise.
        high_evaluations, low_evaluations: at the final's own resolution, and at lower ones.
        transports: of each stage that changed schedule or resolution, in order.
    """

    latent: Array
    head: Trajectory
    high_evaluations: int
    low_evaluations: int
    transports: tuple[Transport | Stay, ...]

    @property
    def transport(self) -> Transport | Stay:
        """Of the last stage; of none, a `Stay`."""
        return self.transports[-1] if self.transports else Stay()


def preview(
    plan: Plan,
    path: Path,
    field: Field,
    noise: Array,
    times: Sequence[float],
    signals: Mapping[str, Callable[[Array], Array]] | None = None,
) -> Result:
    """Run `plan` from `noise` (batch, ..., height, width) with Euler steps.

    `times` is the final's schedule, or one of `plan.steps` steps where the plan has a schedule of its own. `signals`
    are the maps of the denoised prediction that the operators "fitted" and "pixels" stand for. Raises ValueError for
    another number of steps than that, and as `Plan`, `Transport.of` and `stage_times` do.
    """
    recorded, high = record(plan, path, field, noise, times)
    low, here, schedule = 0, recorded, list(recorded.times)
    latent: Array = None
    transports: tuple[Transport | Stay, ...] = ()
    if len(plan.later) > 1 and not plan.own_schedule:
        schedule = [*schedule[: recorded.switch], *stage_times(Stay(), schedule, recorded.switch, plan.steps)]
    for i in plan.later:
        stage, last = plan.stages[i], i == len(plan.stages) - 1
        candidates = stage.candidates(plan.scale_before(i))
        move = _transport(candidates, path, here, stage)
        steps = stage.steps if len(plan.later) == 1 else None
        lows = stage_times(Transports((*transports, move)), schedule, here.switch, steps)
        until, reference = (None, False) if last else (stage.steps, plan.reference(i + 1))
        conversation = run_stage(
            stage,
            candidates,
            path,
            here,
            lows,
            until=until,
            reference=reference,
            signal=(signals or {}).get(stage.operator or ""),
        )
        here, count, latent, transport = drive(conversation, path, field, lows)
        assert not isinstance(transport, Motion), "a stage keeps the image where it is"
        transports = (*transports, transport)
        high, low = (high + count, low) if stage.scale == 1 else (high, low + count)
    if not plan.later:
        latent = shown(path, recorded)
    return Result(latent, recorded, high, low, transports)


def record(plan: Plan, path: Path, field: Field, noise: Array, times: Sequence[float]) -> tuple[Trajectory, int]:
    """The run of `plan` from the noise: (what it leaves, its evaluations); raises ValueError as `preview`."""
    if plan.own_schedule and len(times) - 1 != plan.steps:
        raise ValueError(f"the plan runs on a schedule of {plan.steps} steps, got one of {len(times) - 1}")
    first = plan.first_run
    conversation = run_head(
        path,
        times,
        Query(noise, times[0]),
        first.steps,
        reference=first.reference,
        early_switch=plan.early_switch,
        order=first.order,
    )
    recorded, evaluations, _, _ = drive(conversation, path, field, times)
    return recorded, evaluations


def _transport(candidates: Sequence[LinearOperator], path: Path, here: Trajectory, stage: Stage) -> Transport | Stay:
    return Transport.of(candidates[0], path, here.state.shape, stage.time) if candidates else Stay()


def transform(
    of: Transform, path: Path, field: Field, noise: Array, times: Sequence[float], seeds: Sequence[int]
) -> Array:
    """The end state of a run from `noise`, transformed as `of` says; raises ValueError as that does."""
    start = run_head(path, times, Query(noise, times[0]), of.switch, reference=True)
    recorded, _, _, _ = drive(start, path, field, times)
    _, _, latent, _ = drive(of.run(path, recorded, seeds), path, field, times[of.switch :])
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


def replay(transport: Transport | Stay | Motion, path: Path, recorded: Trajectory) -> Array:
    """The transported state at the switch, reached by feeding the transported answers to the solver.

    At matched time it equals `transport.state` at the switch: bit for bit for noise gain 1, to rounding otherwise. At
    the same time (gain other than 1) it does not: there the state is split into signal and noise anew at every time.
    """
    y = transport.start(recorded.noise, recorded.times[0])
    for i in range(recorded.switch):
        t, t_next = transport.time_of(recorded.times[i]), transport.time_of(recorded.times[i + 1])
        output = transport.output(recorded.outputs[i], recorded.states[i], recorded.times[i])
        y = euler_step(path, output, y, t, t_next)
    return y


def drive(
    conversation: Conversation, path: Path, field: Field, times: Sequence[float]
) -> tuple[Any, int, Array, Transport | Stay | Motion]:
    """Answer a conversation with Euler steps on `times`; returns (its result, evaluations, last state, transport)."""
    evaluations, step, x = 0, 0, None
    transport: Transport | Stay | Motion = Stay()
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
