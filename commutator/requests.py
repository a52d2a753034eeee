"""What a preview or a manipulation asks of whoever drives it, and the recorded head it continues from.

- `Evaluate(x, t)`:    evaluate the model at this state; the reply is its raw output, shaped like `x`;
- `Enter(transport)`:  the sampler moves to the transported trajectory; give it the transported history. No reply;
- `Advance(x, output)`: the sampler takes `output` as the model's answer at its state, which must be `x`; the reply is
  the `Query` with which the sampler comes back, its next state and time.

States and outputs are (batch, ..., height, width); outputs are in the path's own prediction (velocity for rectified
flow).
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

from .motion import Motion
from .transport import Transport

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
