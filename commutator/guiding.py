"""The guided part of a tail: steps of the user's sampler, the first of them corrected (`guidance.py` says how)."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import Any

from .extrapolation import Extrapolation
from .guidance import Guidance
from .motion import Motion
from .path import Path
from .requests import Advance, Enter, Evaluate, Head, Request
from .transport import Transport

Array = Any


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
