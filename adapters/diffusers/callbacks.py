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
        return _watched(user, pipe, step, timestep, values)

    return {"callback_on_step_end": callback}


def for_tail(call: Mapping[str, Any], loop: TailLoop, switch: int) -> dict[str, Any]:
    """Arguments of the tail's call: steps go on counting from the switch, extra evaluations are not shown."""
    user = call.get("callback_on_step_end")
    if user is None:
        return {}

    def callback(pipe: Any, step: int, timestep: Any, values: Mapping[str, Any]) -> Any:
        if not loop.advanced:
            return {}
        return _watched(user, pipe, switch + loop.steps - 1, timestep, values)

    return {"callback_on_step_end": callback}


def _watched(user: Any, pipe: Any, step: int, timestep: Any, values: Any) -> Any:
    """What the user's callback returns; UnsupportedError where it changed more than the state, in whatever way.

    By another entry in what it returns, by one put into the given mapping, by writing into a tensor of it, or by a
    setting of the call on the pipeline (`_guidance_scale`).
    """
    given = {k: (v, _writes(v)) for k, v in values.items()}
    settings = _settings(pipe)
    returned = user(pipe, step, timestep, values)
    for key, value in {**values, **(returned or {})}.items():
        before, writes = given.get(key, (None, 0))
        if key != STATE and (value is not before or _writes(value) != writes):
            raise UnsupportedError(
                f"callback_on_step_end changed {key!r}: in a preview a callback may change {STATE!r} only, because "
                "the low-resolution tail is a call of its own"
            )
    changed = [k for k, v in _settings(pipe).items() if k not in settings or v != settings[k]]
    if changed:
        raise UnsupportedError(
            f"callback_on_step_end changed pipe.{changed[0]}: the low-resolution tail is a call of its own, with the "
            "settings that it is given"
        )
    return returned


def _writes(value: Any) -> int:
    """How often a tensor was written into in place; not counted under torch.inference_mode."""
    return 0 if not hasattr(value, "is_inference") or value.is_inference() else int(value._version)


def _settings(pipe: Any) -> dict[str, Any]:
    """The plain settings of the running call. `_interrupt` ends it, which is a callback's right."""
    plain = (bool, int, float, str, type(None))
    return {k: v for k, v in vars(pipe).items() if k[0] == "_" and k != "_interrupt" and isinstance(v, plain)}
