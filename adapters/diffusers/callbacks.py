"""A user's step callback, seen through the runs of a preview: once per solver step, never for bookkeeping."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .errors import UnsupportedError
from .tail_loop import TailLoop

STATE = "latents"  # the one thing a callback may change: the plan carries states, not the pipeline's other variables


def for_head(call: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of the head's call."""
    user = call.get("callback_on_step_end")
    if user is None:
        return {}

    def callback(pipe: Any, step: int, timestep: Any, values: Mapping[str, Any]) -> Any:
        return _only_state(user(pipe, step, timestep, values), values)

    return {"callback_on_step_end": callback}


def for_tail(call: Mapping[str, Any], loop: TailLoop, switch: int) -> dict[str, Any]:
    """Arguments of the tail's call: steps go on counting from the switch, extra evaluations are not shown."""
    user = call.get("callback_on_step_end")
    if user is None:
        return {}

    def callback(pipe: Any, step: int, timestep: Any, values: Mapping[str, Any]) -> Any:
        if not loop.advanced:
            return {}
        return _only_state(user(pipe, switch + loop.steps - 1, timestep, values), values)

    return {"callback_on_step_end": callback}


def _only_state(returned: Any, given: Mapping[str, Any]) -> Any:
    for key, value in (returned or {}).items():
        if key != STATE and value is not given.get(key):
            raise UnsupportedError(
                f"callback_on_step_end changed {key!r}: in a preview a callback may change {STATE!r} only, because "
                "the low-resolution tail is a call of its own"
            )
    return returned
