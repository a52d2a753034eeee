"""The preview as a conversation without any framework (sans-IO).

Two generators describe a preview completely; an adapter only answers their requests with the user's own model and
sampler. `head` runs at high resolution and returns a `Head`; `tail` runs at low resolution and returns nothing: it ends
with the last `Advance`. A plan with `tail=0` has a head only, and `shown` reads the preview off it. The requests:

- `Evaluate(x, t)`:    evaluate the model at this state; the reply is its raw output, shaped like `x`;
- `Enter(transport)`:  the sampler moves to the transported trajectory; give it the transported history. No reply;
- `Advance(x, output)`: the sampler takes `output` as the model's answer at its state, which must be `x`; the reply is
  the `Query` with which the sampler comes back, its next state and time.

States and outputs are (batch, ..., height, width); outputs are in the path's own prediction (velocity for rectified
flow). `guided` is the corrected part of a tail (`Guidance` in plan.py says how).
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from array_api_compat import array_namespace

from .condition import sample_norm
from .path import Path
from .plan import Guidance, Plan
from .steps import Extrapolation, Settling, require_switch, tail_times
from .transport import Motion, PerSample, Transport

Array = Any


@dataclass(frozen=True)
class Query:
    """The sampler asks: what does the model say at state `x` and time `t`?"""

    x: Array
    t: float


@dataclass(frozen=True)
class Evaluate:
    x: Array
    t: float


@dataclass(frozen=True)
class Enter:
    transport: Transport | Motion


@dataclass(frozen=True)
class Advance:
    x: Array
    output: Array


Request = Evaluate | Enter | Advance
Conversation = Generator[Request, Any, Any]


@dataclass(frozen=True)
class Head:
    """The recorded high-resolution part: what a tail needs.

    Attributes:
        times: the high-resolution schedule, N + 1 times.
        switch: D; `outputs` holds the model outputs of steps 0..D-1 and, if it was evaluated, of the switch.
        states: the states at which they were evaluated; `state` is the one at the switch.
    """

    times: tuple[float, ...]
    switch: int
    states: tuple[Array, ...]
    outputs: tuple[Array, ...]
    state: Array

    @property
    def noise(self) -> Array:
        """The state at the first time (unit noise on a rectified flow)."""
        return self.states[0] if self.states else self.state

    @property
    def reference(self) -> Array | None:
        """The output at the switch, where the plan evaluated it."""
        return self.outputs[self.switch] if len(self.outputs) > self.switch else None


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


def guided_times(guidance: Guidance | None, times: Sequence[float]) -> list[float]:
    """The times at which a tail on `times` evaluates: each but the last, and once more for every exact correction."""
    extra = guidance.steps if guidance is not None and guidance.kind == "exact" else 0
    return [t for i, t in enumerate(times[:-1]) for _ in range(2 if i < extra else 1)]


def guided(
    guidance: Guidance | None,
    path: Path,
    recorded: Head,
    transport: Transport | Motion,
    times: Sequence[float],
    y: Array,
    output: Array,
    seen: Array | float = 1.0,
    order: int = 1,
) -> Generator[Request, Any, None]:
    """The steps from the transported state `y`, where the model answered `output`, to the end of `times`.

    `seen` scales the guidance where the transported head knows nothing: (height, width), from 0 to 1. `order` is that
    of the steps (`extrapolation.py`).
    """
    yield Enter(transport)
    step = Extrapolation(path, order, _history(order, path, recorded, transport))
    correct = _corrections(guidance, path, recorded, transport, path.denoised(output, y, times[0]), seen)
    t = times[0]
    for i, t_next in enumerate(times[1:]):
        y, output = yield from correct(i, y, t, output)
        query = yield Advance(y, step(output, y, t, t_next))
        if i + 2 < len(times):
            y, t = query.x, t_next
            output = yield Evaluate(y, t)


def _history(order: int, path: Path, recorded: Head, transport: Transport | Motion) -> tuple[Array, float] | None:
    """The head's last answer before the switch as the tail sees it: (denoised, time)."""
    last = recorded.switch - 1
    if order == 1 or last < 0:
        return None
    denoised = path.denoised(recorded.outputs[last], recorded.states[last], recorded.times[last])
    return transport.operator(denoised), transport.moved(recorded.times[last])


Corrector = Callable[[int, Array, float, Array], Generator[Request, Any, tuple[Array, Array]]]


def _corrections(
    guidance: Guidance | None,
    path: Path,
    recorded: Head,
    transport: Transport | Motion,
    first: Array,
    seen: Array | float,
) -> Corrector:
    """The guidance as a function of (step, state, time, output); `first` is the denoised at the switch."""
    if guidance is None:

        def free(i: int, y: Array, t: float, output: Array) -> Generator[Request, Any, tuple[Array, Array]]:
            return y, output
            yield  # a generator without requests

        return free

    last = recorded.switch if guidance.reference == "switch" else recorded.switch - 1
    x_ref = recorded.state if last == recorded.switch else recorded.states[last]
    t_ref, output_ref = recorded.times[last], recorded.outputs[last]
    fixed_point = guidance.kind in ("exact", "lagged")
    if fixed_point:
        target = transport.output(output_ref, x_ref, t_ref)
    else:
        target = transport.operator(path.denoised(output_ref, x_ref, t_ref))

    def corrected(i: int, y: Array, t: float, output: Array) -> Generator[Request, Any, tuple[Array, Array]]:
        if guidance.at(i) == 0.0:
            return y, output
        w = guidance.at(i) * seen
        if fixed_point:
            y = y + w * path.towards_image * (target - output)
            if guidance.kind == "exact":
                output = yield Evaluate(y, t)
            return y, output
        denoised = path.denoised(output, y, t)
        towards = target - denoised if guidance.kind == "anchor" else target - first
        return y, path.output(denoised + w * towards, y, t)

    return corrected
