"""The preview as a conversation without any framework (sans-IO).

Two kinds of generators describe a preview completely; an adapter only answers their requests with the user's own model
and sampler. `run_head` runs at high resolution, on the final's own schedule or on one of its own; `run_stage`
carries a `Trajectory` over to the next schedule or resolution and runs there. Both return the trajectory they leave.
The requests:

- `Evaluate(x, t)`:    evaluate the model at this state; the reply is its raw output, shaped like `x`;
- `Enter(transport)`:  the sampler moves to the transported trajectory; give it the transported history. No reply;
- `Advance(x, output)`: the sampler takes `output` as the model's answer at its state, which must be `x`; the reply is
  the `Query` with which the sampler comes back, its next state and time.

States and outputs are (batch, ..., height, width); outputs are in the path's own prediction (velocity for rectified
flow). Counts are of *evaluations*: a sampler with two evaluations per step makes twice as many as a plan has steps.
`guided` is the corrected part of a stage or of a transform (`Guidance` in plan.py says how).
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from array_api_compat import array_namespace

from ..operators import LinearOperator
from ..operators.arrays import Array
from .condition import sample_norm
from .path import Path
from .plan import SIGNAL, Guidance, Stage
from .steps import Extrapolation, Settling, require_switch
from .transport import Motion, PerSample, Stay, Transport


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
    transport: Transport | Stay | Motion


@dataclass(frozen=True)
class Advance:
    x: Array
    output: Array


Request = Evaluate | Enter | Advance
Conversation = Generator[Request, Any, Any]


@dataclass(frozen=True)
class Trajectory:
    """What a run has left behind, and what it would do next: a stage continues from it.

    Attributes:
        times: the whole schedule of the run, decreasing, the end included; times[:switch] lie behind.
        switch: D, in evaluations; `outputs` holds the model outputs of the evaluations 0..D-1 and, if it was made, of
            the one at the switch.
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
        """The output at the switch, where it was evaluated."""
        return self.outputs[self.switch] if len(self.outputs) > self.switch else None

    def denoised(self, path: Path, i: int) -> Array:
        """The denoised prediction of evaluation `i`; -1 for the last one."""
        i = i % len(self.outputs)
        x = self.state if i == self.switch else self.states[i]
        return path.denoised(self.outputs[i], x, self.times[i])

    def on(self, times: Sequence[float]) -> Trajectory:
        """The same with another schedule from the switch on: the times of what is left to run, the end included."""
        return Trajectory((*self.times[: self.switch], *times), self.switch, self.states, self.outputs, self.state)

    def carried(self, path: Path, transport: Transport | Stay, state: Array) -> Trajectory:
        """The history as the transport sees it, continuing from `state`; the answer at the switch is left behind."""
        past = [(self.states[i], self.times[i], self.outputs[i]) for i in range(self.switch)]
        linear = transport.linear
        outputs = tuple(linear.output(output, x, t) for x, t, output in past)
        states = tuple(linear.state(x, t, path.denoised(output, x, t)) for x, t, output in past)
        return Trajectory(tuple(transport.time_of(t) for t in self.times), self.switch, states, outputs, state)


def run_head(
    path: Path,
    times: Sequence[float],
    query: Query,
    evaluations: int,
    *,
    reference: bool = False,
    early_switch: float | None = None,
    order: int = 1,
) -> Generator[Request, Any, Trajectory]:
    """Run a high-resolution head, starting from the sampler's first query.

    Args:
        evaluations: D, after which it ends; reference: whether the model is also evaluated at the switch.
        early_switch: as of `Plan`: the switch of the returned trajectory may then lie earlier, with the answer there.
        order: of the steps; 1 takes the sampler's own, as the head of a final must.

    Raises ValueError, before any evaluation, when the schedule has no step left after the switch.
    """
    require_switch(times, evaluations)
    step = Extrapolation(path, order)
    settling = Settling(early_switch, path)
    states: list[Array] = []
    outputs: list[Array] = []
    for i in range(evaluations):
        output = yield Evaluate(query.x, query.t)
        outputs.append(output)
        if settling.settled(output, query.x, query.t):
            return Trajectory(tuple(times), i, tuple(states), tuple(outputs), query.x)
        states.append(query.x)
        query = yield Advance(query.x, step(output, query.x, query.t, times[i + 1]))
    if reference:
        outputs.append((yield Evaluate(query.x, query.t)))
    return Trajectory(tuple(times), evaluations, tuple(states), tuple(outputs), query.x)


def evaluation_times(
    stage: Stage, candidates: int, times: Sequence[float], *, known: bool = False, per_step: int = 1
) -> list[float]:
    """The times of all `Evaluate` requests that `run_stage` will make on `times`, in order.

    Known before the first of them: a pipeline that walks a fixed list of times can have every evaluation on it.
    `known`: the answer to the first is on the trajectory already.
    """
    more = candidates - 1 if stage.compared else 0
    return [times[0]] * more + guided_times(stage.guidance, times, per_step)[int(known) :]


def run_stage(
    stage: Stage,
    candidates: Sequence[LinearOperator],
    path: Path,
    recorded: Trajectory,
    times: Sequence[float],
    *,
    until: int | None = None,
    reference: bool = False,
    per_step: int = 1,
    signal: Callable[[Array], Array] | None = None,
) -> Generator[Request, Any, Trajectory]:
    """Carry a trajectory over to the schedule and resolution of `stage`, and run the stage there.

    Args:
        candidates: `Stage.candidates`; none where the resolution stays. Then an answer that the trajectory holds at the
            switch is the stage's first.
        times: of the evaluations from the switch on, and the end.
        until: how many of them belong to this stage; None for all. reference: whether the model is evaluated once more
            after them, for the stage that follows.
        per_step: evaluations per step of the sampler.
        signal: for operators "fitted" and "pixels", what carries the denoised prediction, (batch, ...) to (batch, ...).

    Raises ValueError where the stage's operator needs a `signal` and there is none.

    Returns the trajectory at this resolution, the carried history included. For the last stage its state is the result.
    """
    if (stage.operator in SIGNAL) is not (signal is not None):
        raise ValueError(
            f"operator {stage.operator!r} and a signal of its own go together: {SIGNAL} need one, no other"
        )
    count = len(times) - 1 if until is None else until
    transport: Transport | Stay
    image: Array | None = None
    if candidates:
        transport, output = yield from _select(stage, candidates, path, recorded, signal)
        if transport.signal is not None:
            denoised = recorded.denoised(path, -1)  # the answer at the switch, or the last one before it
            image, t = transport.image(denoised), recorded.times[recorded.switch]
            y = transport.split_state(recorded.state, t, denoised, image)
        else:
            y = _switched(transport, path, recorded)
    else:
        transport, output, y = Stay(), recorded.reference, recorded.state
    # Before anything is evaluated: a signal through pixels makes calls of its own.
    previous = _history(stage.order, path, recorded, transport, image)
    if output is None:
        output = yield Evaluate(y, times[0])
    past = recorded.carried(path, transport, y) if until is not None else None
    left = yield from guided(
        stage.guidance,
        path,
        recorded,
        transport,
        times[: count + 1],
        y,
        output,
        order=stage.order,
        per_step=per_step,
        image=image,
        previous=previous,
    )
    outputs, states = left.outputs, left.states
    if reference:
        outputs = (*outputs, (yield Evaluate(left.state, times[count])))
    if past is None:  # the last stage: nobody asks for its history
        return Trajectory(tuple(times), count, states, outputs, left.state)
    whole = (*past.times[: past.switch], *times)
    return Trajectory(whole, past.switch + count, (*past.states, *states), (*past.outputs, *outputs), left.state)


def shown(path: Path, recorded: Trajectory) -> Array:
    """The preview of a plan without stages: the last denoised prediction.

    Raises ValueError where the trajectory holds no answer at its switch.
    """
    if recorded.reference is None:
        raise ValueError("the head holds no answer at the switch to show")
    return recorded.denoised(path, recorded.switch)


def _switched(transport: Transport, path: Path, recorded: Trajectory) -> Array:
    t = recorded.times[recorded.switch]
    if recorded.reference is not None:
        return transport.state(recorded.state, t, recorded.denoised(path, recorded.switch))
    return transport.state(recorded.state, t) if recorded.switch else transport.start(recorded.state, t)


def _select(
    stage: Stage,
    operators: Sequence[LinearOperator],
    path: Path,
    recorded: Trajectory,
    signal: Callable[[Array], Array] | None,
) -> Generator[Request, Any, tuple[Transport, Array | None]]:
    """The operator of each sample, and the winner's evaluation where one was made."""
    shape, t = tuple(recorded.state.shape), recorded.times[recorded.switch]
    operators, batch = tuple(operators), shape[0]
    if len(operators) == 1:
        return Transport.of(operators[0], path, shape, stage.time, signal), None
    if stage.selection == "random":
        # Seeded by the plan and the sample's own noise: the choice does not depend on what else is in the batch.
        noise, seed = recorded.noise, stage.selection_seed
        choice = tuple(_draw(seed, noise[b : b + 1], len(operators)) for b in range(batch))
        return Transport.of(PerSample(operators, choice), path, shape, stage.time), None

    transports = [Transport.of(op, path, shape, stage.time) for op in operators]
    outputs, norms = [], []
    reference = path.denoised(recorded.reference, recorded.state, t)
    for transport in transports:
        y, low = transport.state(recorded.state, t, reference), transport.time_of(t)
        answer = yield Evaluate(y, low)
        outputs.append(answer)
        norms.append(sample_norm(transport.operator(reference) - path.denoised(answer, y, low)))
    xp = array_namespace(norms[0])
    table = np.asarray([[float(v) for v in norm] for norm in norms])
    best = table.argmin(axis=0) if stage.selection == "argmin" else table.argmax(axis=0)
    choice = tuple(int(k) for k in best)
    winner = xp.concat([outputs[k][b : b + 1] for b, k in enumerate(choice)], axis=0)
    return Transport.of(PerSample(operators, choice), path, shape, stage.time), winner


def _draw(seed: int, noise: Array, count: int) -> int:
    first = float(array_namespace(noise).reshape(noise, (-1,))[0])
    return int(np.random.default_rng([seed, abs(int(first * 2**24))]).integers(count))


def guided_times(guidance: Guidance | None, times: Sequence[float], per_step: int = 1) -> list[float]:
    """The times at which a run on `times` evaluates: each but the last, and once more for every exact correction."""
    extra = guidance.steps * per_step if guidance is not None and guidance.kind == "exact" else 0
    return [t for i, t in enumerate(times[:-1]) for _ in range(2 if i < extra else 1)]


@dataclass(frozen=True)
class _Left:
    """What a guided run leaves: where it answered what, and the state after the last step."""

    states: tuple[Array, ...]
    outputs: tuple[Array, ...]
    state: Array


def guided(
    guidance: Guidance | None,
    path: Path,
    recorded: Trajectory,
    transport: Transport | Stay | Motion,
    times: Sequence[float],
    y: Array,
    output: Array,
    seen: Array | float = 1.0,
    order: int = 1,
    per_step: int = 1,
    image: Array | None = None,
    previous: tuple[Array, float] | None = None,
) -> Generator[Request, Any, _Left]:
    """The steps from the transported state `y`, where the model answered `output`, to the end of `times`.

    `seen` scales the guidance where the transported head knows nothing: (height, width), from 0 to 1. `order` is that
    of the steps (steps.py). `image`: the last denoised prediction of `recorded` as the transport shows it, if known;
    `previous`: the (denoised, time) before the first step, for the second order.
    What is left holds the answers as the sampler got them, and the states they belong to.
    """
    yield Enter(transport)
    step = Extrapolation(path, order, previous)
    correct = _corrections(guidance, path, recorded, transport, path.denoised(output, y, times[0]), seen, image)
    states: list[Array] = []
    outputs: list[Array] = []
    t = times[0]
    for i, t_next in enumerate(times[1:]):
        y, output = yield from correct(i / per_step, y, t, output)
        states.append(y)
        outputs.append(output)
        query = yield Advance(y, step(output, y, t, t_next))
        y, t = query.x, t_next
        if i + 2 < len(times):
            output = yield Evaluate(y, t)
    return _Left(tuple(states), tuple(outputs), y)


def _history(
    order: int, path: Path, recorded: Trajectory, transport: Transport | Stay, image: Array | None
) -> tuple[Array, float] | None:
    """The last answer before the switch as the transport shows it: (denoised, time)."""
    last = recorded.switch - 1
    if order == 1 or last < 0:
        return None
    if image is None or last != len(recorded.outputs) - 1:
        image = transport.image(recorded.denoised(path, last))
    return image, transport.time_of(recorded.times[last])


Corrector = Callable[[float, Array, float, Array], Generator[Request, Any, tuple[Array, Array]]]


def _corrections(
    guidance: Guidance | None,
    path: Path,
    recorded: Trajectory,
    transport: Transport | Stay | Motion,
    first: Array,
    seen: Array | float,
    image: Array | None,
) -> Corrector:
    """The guidance as a function of (step, state, time, output); `first` is the denoised at the switch."""
    if guidance is None:

        def free(i: float, y: Array, t: float, output: Array) -> Generator[Request, Any, tuple[Array, Array]]:
            return y, output
            yield  # a generator without requests

        return free

    last = recorded.switch if guidance.reference == "switch" else recorded.switch - 1
    fixed_point = guidance.kind in ("exact", "lagged")
    if fixed_point:
        x_ref = recorded.state if last == recorded.switch else recorded.states[last]
        target = transport.output(recorded.outputs[last], x_ref, recorded.times[last])
    else:
        known = image is not None and last == len(recorded.outputs) - 1
        target = image if known else transport.image(recorded.denoised(path, last))

    def corrected(i: float, y: Array, t: float, output: Array) -> Generator[Request, Any, tuple[Array, Array]]:
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
