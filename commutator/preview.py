"""The preview as a conversation without any framework (sans-IO).

Two generators describe a preview completely; an adapter only answers their requests (`requests.py`) with the user's own
model and sampler. `head` runs at high resolution and returns a `Head`; `tail` runs at low resolution and returns
nothing: it ends with the last `Advance`. A plan with `tail=0` has a head only, and `shown` reads the preview off it.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Any

import numpy as np
from array_api_compat import array_namespace

from .condition import sample_norm
from .extrapolation import Extrapolation
from .guiding import guided, guided_times
from .path import Path
from .plan import Plan
from .requests import Advance, Evaluate, Head, Query, Request
from .schedule import require_switch, tail_times
from .settling import Settling
from .transport import PerSample, Transport

Array = Any


def head(plan: Plan, path: Path, times: Sequence[float], query: Query) -> Generator[Request, Any, Head]:
    """Run the high-resolution part of `plan`, starting from the sampler's first query.

    The switch of the returned `Head` is the plan's, or an earlier step where a head that is to settle did. Raises
    ValueError, before any evaluation, when the schedule has no step left after the switch.
    """
    require_switch(times, plan.switch)
    # A head on the final's own schedule takes the final's own steps, whatever the order of the preview's.
    step = Extrapolation(path, plan.order if plan.head_steps is not None else 1)
    settling = Settling(plan.settle, path)
    states: list[Array] = []
    outputs: list[Array] = []
    for i in range(plan.switch):
        output = yield Evaluate(query.x, query.t)
        outputs.append(output)
        if settling.settled(output, query.x, query.t):
            return Head(tuple(times), i, tuple(states), tuple(outputs), query.x)
        states.append(query.x)
        query = yield Advance(query.x, step(output, query.x, query.t, times[i + 1]))
    if plan.needs_reference:
        outputs.append((yield Evaluate(query.x, query.t)))
    return Head(tuple(times), plan.switch, tuple(states), tuple(outputs), query.x)


def evaluation_times(plan: Plan, path: Path, times: Sequence[float], gain: float) -> list[float]:
    """The times of all low-resolution `Evaluate` requests that `tail` will make, in order.

    Known before the first of them: a pipeline that walks a fixed list of times can have every evaluation on it.
    """
    if plan.tail == 0:
        return []
    lows = tail_times(Transport(plan.operators()[0], path, gain, plan.time), times, plan.switch, plan.tail)
    return evaluations_on(plan, lows)


def evaluations_on(plan: Plan, lows: Sequence[float]) -> list[float]:
    """As `evaluation_times`, for a tail on given low-resolution times."""
    candidates = len(plan.operators()) if plan.selection in ("argmin", "argmax") else 1
    return [lows[0]] * (candidates - 1) + guided_times(plan.guidance, lows)


def tail(plan: Plan, path: Path, recorded: Head, lows: Sequence[float] | None = None) -> Generator[Request, Any, None]:
    """Carry a recorded head to low resolution and run the rest of `plan` there.

    `lows` are the times of the low-resolution evaluations and the end, for samplers that cannot take any times or that
    evaluate between them; `tail_times` unless given.
    """
    shape = tuple(recorded.state.shape)
    t_high = recorded.times[recorded.switch]
    if plan.tail == 0:
        raise ValueError("a plan with tail=0 has no low resolution: its preview is shown(path, head)")
    transport, output = yield from _select(plan, path, recorded, shape, t_high)
    if lows is None:
        lows = tail_times(transport, recorded.times, recorded.switch, plan.tail)
    y = _switched(transport, path, recorded, t_high)
    if output is None:
        output = yield Evaluate(y, lows[0])
    yield from guided(plan.guidance, path, recorded, transport, lows, y, output, order=plan.order)


def shown(path: Path, recorded: Head) -> Array:
    """The preview of a plan with `tail=0`, at high resolution: the denoised prediction at the switch.

    Raises ValueError where the head does not end with an evaluation there.
    """
    if recorded.reference is None:
        raise ValueError("the head holds no answer at the switch to show")
    return path.denoised(recorded.reference, recorded.state, recorded.times[recorded.switch])


def _switched(transport: Transport, path: Path, recorded: Head, t: float) -> Array:
    reference = recorded.reference
    if reference is None:
        return transport.state(recorded.state, t) if recorded.switch else transport.start(recorded.state, t)
    return transport.state(recorded.state, t, path.denoised(reference, recorded.state, t))


def _select(
    plan: Plan, path: Path, recorded: Head, shape: tuple[int, ...], t: float
) -> Generator[Request, Any, tuple[Transport, Array | None]]:
    """The operator of each sample, and the winner's evaluation where one was made."""
    operators = plan.operators()
    batch = shape[0]
    if len(operators) == 1:
        return Transport.of(operators[0], path, shape, plan.time), None
    if plan.selection == "random":
        # Seeded by the plan and the sample's own noise: the choice does not depend on what else is in the batch.
        choice = tuple(_draw(plan.selection_seed, recorded.noise[b : b + 1], len(operators)) for b in range(batch))
        return Transport.of(PerSample(operators, choice), path, shape, plan.time), None

    transports = [Transport.of(op, path, shape, plan.time) for op in operators]
    outputs, norms = [], []
    reference = path.denoised(recorded.reference, recorded.state, t)
    for transport in transports:
        y, low = transport.state(recorded.state, t, reference), transport.moved(t)
        answer = yield Evaluate(y, low)
        outputs.append(answer)
        norms.append(sample_norm(transport.operator(reference) - path.denoised(answer, y, low)))
    xp = array_namespace(norms[0])
    table = np.asarray([[float(v) for v in norm] for norm in norms])
    best = table.argmin(axis=0) if plan.selection == "argmin" else table.argmax(axis=0)
    choice = tuple(int(k) for k in best)
    winner = xp.concat([outputs[k][b : b + 1] for b, k in enumerate(choice)], axis=0)
    return Transport.of(PerSample(operators, choice), path, shape, plan.time), winner


def _draw(seed: int, noise: Array, count: int) -> int:
    first = float(array_namespace(noise).reshape(noise, (-1,))[0])
    return int(np.random.default_rng([seed, abs(int(first * 2**24))]).integers(count))
