"""The preview as a conversation without any framework (sans-IO).

Two generators describe a preview completely; an adapter only answers them with the user's own model and sampler.
They yield one of three requests:

- `Evaluate(x, t)`:    evaluate the model at this state; the reply is its raw output, shaped like `x`;
- `Enter(transport)`:  the sampler moves to low resolution; give it the transported history (`replay`). No reply;
- `Advance(x, output)`: the sampler takes `output` as the model's answer at its state, which must be `x`; the reply is
  the `Query` with which the sampler comes back, its next state and time.

`head` runs at high resolution and returns a `Head`; `tail` runs at low resolution and returns nothing: it ends with the
last `Advance`. States and outputs are (batch, ..., height, width); outputs are in the path's own prediction (velocity
for rectified flow).
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from array_api_compat import array_namespace

from .condition import sample_norm
from .path import Path
from .plan import Plan
from .schedule import tail_times
from .transport import PerSample, Transport

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
    transport: Transport


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


def head(plan: Plan, times: Sequence[float], query: Query) -> Generator[Request, Any, Head]:
    """Run the high-resolution part of `plan`, starting from the sampler's first query."""
    states: list[Array] = []
    outputs: list[Array] = []
    for _ in range(plan.switch):
        output = yield Evaluate(query.x, query.t)
        states.append(query.x)
        outputs.append(output)
        query = yield Advance(query.x, output)
    if plan.needs_reference:
        outputs.append((yield Evaluate(query.x, query.t)))
    return Head(tuple(times), plan.switch, tuple(states), tuple(outputs), query.x)


def evaluation_times(plan: Plan, path: Path, times: Sequence[float], gain: float) -> list[float]:
    """The times of all low-resolution `Evaluate` requests that `tail` will make, in order.

    Known before the first of them: a pipeline that walks a fixed list of times can have every evaluation on it.
    """
    lows = tail_times(Transport(plan.operators()[0], path, gain, plan.time), times, plan.switch, plan.tail)[:-1]
    candidates = len(plan.operators()) if plan.selection in ("argmin", "argmax") else 1
    out = [lows[0]] * candidates
    guidance = plan.guidance
    for i, t in enumerate(lows):
        if i:
            out.append(t)
        if guidance is not None and guidance.kind == "exact" and i < guidance.steps:
            out.append(t)
    return out


def tail(plan: Plan, path: Path, recorded: Head) -> Generator[Request, Any, None]:
    """Carry a recorded head to low resolution and run the rest of `plan` there."""
    shape = tuple(recorded.state.shape)
    t_high = recorded.times[recorded.switch]
    transport, output = yield from _select(plan, path, recorded, shape, t_high)
    lows = tail_times(transport, recorded.times, recorded.switch, plan.tail)
    y, t = _switched(transport, path, recorded, t_high), lows[0]
    if output is None:
        output = yield Evaluate(y, t)
    yield Enter(transport)
    correct = _corrections(plan, path, recorded, transport, path.denoised(output, y, t))
    for i, t_next in enumerate(lows[1:]):
        y, output = yield from correct(i, y, t, output)
        query = yield Advance(y, output)
        if i + 2 < len(lows):
            y, t = query.x, t_next
            output = yield Evaluate(y, t)


def _switched(transport: Transport, path: Path, recorded: Head, t: float) -> Array:
    reference = recorded.reference
    denoised = None if reference is None else path.denoised(reference, recorded.state, t)
    return transport.state(recorded.state, t, denoised)


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


Corrector = Callable[[int, Array, float, Array], Generator[Request, Any, tuple[Array, Array]]]


def _corrections(plan: Plan, path: Path, recorded: Head, transport: Transport, first: Array) -> Corrector:
    """The guidance of the plan as a function of (step, state, time, output); `first` is the denoised at the switch."""
    guidance = plan.guidance
    if guidance is None:

        def free(i: int, y: Array, t: float, output: Array) -> Generator[Request, Any, tuple[Array, Array]]:
            return y, output
            yield  # a generator without requests

        return free

    last = recorded.switch if guidance.reference == "switch" else recorded.switch - 1
    x_ref = recorded.state if last == recorded.switch else recorded.states[last]
    t_ref, output_ref = recorded.times[last], recorded.outputs[last]
    target = transport.operator(path.denoised(output_ref, x_ref, t_ref))
    output_target = transport.output(output_ref, x_ref, t_ref)

    def corrected(i: int, y: Array, t: float, output: Array) -> Generator[Request, Any, tuple[Array, Array]]:
        w = guidance.at(i)
        if w == 0.0:
            return y, output
        if guidance.kind in ("exact", "lagged"):
            y = y + w * (output_target - output)
            if guidance.kind == "exact":
                output = yield Evaluate(y, t)
            return y, output
        denoised = path.denoised(output, y, t)
        towards = target - denoised if guidance.kind == "anchor" else target - first
        return y, path.output(denoised + w * towards, y, t)

    return corrected
