"""Tapes without a preview, and finals from tapes: the plain run of the sampler, its first answers from the tape."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import torch

from ...commutator import Path, Tape, TapeError, VarianceExploding
from ..errors import require_finite
from .calling import Call, Model, Sampler, Stop, checked_latent, checked_sigmas, level, require_recordable
from .randomness import State, preserved, restore, state
from .recording import Recorder, Recording
from .replay import Replay
from .tape import (
    answer_of,
    check_header,
    check_tape,
    device_of,
    is_coarse,
    latent_of,
    random_states,
    recorded_sigmas,
    tape_of,
)


def finish(
    sampler: Sampler,
    model: Model,
    tape: Tape,
    sigmas: torch.Tensor | None = None,
    extra_args: Mapping[str, Any] | None = None,
    callback: Callable[[Any], Any] | None = None,
    disable: bool | None = None,
    **sampler_options: Any,
) -> Any:
    """What `sampler(model, x, sigmas, ...)` returned, or would have returned, where the tape's preview was made.

    Bit for bit, stochastic noise included: the run begins from the tape's latent with torch's global generators in the
    tape's state, and leaves them where the plain run would. Its model is not asked for the answers on the tape.

    Args:
        sigmas: those of the preview; may be left out, but for tapes of version 0.1 with a coarse head.
        sampler_options: as in the preview. A `noise_sampler` must be made the same way again, if it runs only forward.

    Raises:
        TapeError: the tape is of another sampler, schedule or options, or the run does not arrive at its state; before
            the model is asked. The generators are then, as after any exception, as they were found.
    """
    check_header(tape)
    if sigmas is None:
        sigmas = recorded_sigmas(tape)
    call = Call(sampler, sigmas, dict(extra_args or {}), disable, sampler_options)
    check_tape(tape, call)
    device = device_of(tape)
    began, drew = random_states(tape)
    found = state(device)
    if [part.numel() for part in found] != tape.header["rng"]:
        raise TapeError("the tape's generator states are not of this machine's kind")
    restore(began, device)
    try:
        return call(_TapeReplay(model, tape, drew), latent_of(tape), callback)
    except BaseException:
        restore(found, device)
        raise


class _TapeReplay(Replay):
    """Answers from the tape for as long as it lasts, then by the model."""

    def __init__(self, model: Model, tape: Tape, drew: Mapping[int, State]) -> None:
        super().__init__(model, tape.recorded)
        self._tape, self._drew = tape, drew

    def _check(self, i: int, x: torch.Tensor, sigma: torch.Tensor) -> None:
        if i != self._tape.header["switch"] or is_coarse(self._tape):
            return
        recorded = torch.as_tensor(self._tape.state).to(x.device)
        if x.dtype != recorded.dtype or not torch.equal(x, recorded):
            raise TapeError(
                "the state at the switch differs from the tape: another noise_sampler, another version of the "
                "sampler or a callback that changes the latent"
            )

    def _recorded(self, i: int, x: torch.Tensor) -> torch.Tensor:
        if i in self._drew:
            restore(self._drew[i], x.device)
        return answer_of(self._tape, i)

    def _asked(self, i: int, x: torch.Tensor, sigma: torch.Tensor, args: Any, kwargs: Mapping[str, Any]) -> Any:
        answer = self._model(x, sigma, *args, **kwargs)
        require_finite(answer, f"call {i} (sigma {level(sigma):g})")
        return answer


def record(
    sampler: Sampler,
    model: Model,
    x: torch.Tensor,
    sigmas: torch.Tensor,
    calls: int,
    extra_args: Mapping[str, Any] | None = None,
    callback: Callable[[Any], Any] | None = None,
    disable: bool | None = None,
    *,
    path: Path | None = None,
    **sampler_options: Any,
) -> Tape:
    """The first `calls` model answers of `sampler(model, x, sigmas, ...)` as a tape for `finish`.

    For samplers that cannot be previewed, such as adaptive ones. Arguments: those of `preview`.
    torch's global generators are as before afterwards.

    Raises:
        ValueError: the sampler asks its model no more often than `calls`, or `calls` is negative.
        UnsupportedError, TypeError: as `preview`.
    """
    checked_latent(x)
    checked_sigmas(sigmas)
    if calls < 0:
        raise ValueError(f"calls must not be negative, got {calls}")
    call = Call(sampler, sigmas, dict(extra_args or {}), disable, sampler_options)
    require_recordable(call)
    with preserved(x.device):
        recording = Recording.of(x)
        with suppress(Stop):
            call(Recorder(model, recording, calls, reference=False), x.clone(), callback)
    if recording.switch is None:
        raise ValueError(f"{call.name} asked its model {len(recording.outputs)} times, a tape of {calls} was wanted")
    return tape_of(call, recording, path or VarianceExploding())
