"""Finals from tapes: the plain run of the sampler, its first answers taken from the tape."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch

from ...commutator import Tape, TapeError
from ..errors import require_finite
from .calling import Call, Sampler
from .generators import State, restore, state
from .proxy import Model, Proxy, level
from .taping import answer_of, check_header, check_tape, device_of, latent_of, random_states, recorded_sigmas


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
        sigmas: may be left out where the head ran on the final's own schedule.
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
        return call(_Remembering(model, tape, drew), latent_of(tape), callback)
    except BaseException:
        restore(found, device)
        raise


class _Remembering(Proxy):
    """Answers from the tape for as long as it lasts, then asks the model."""

    def __init__(self, model: Model, tape: Tape, drew: Mapping[int, State]) -> None:
        super().__init__(model)
        self._tape, self._drew = tape, drew
        self._index = 0

    def __call__(self, x: torch.Tensor, sigma: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        i, self._index = self._index, self._index + 1
        if i == self._tape.header["switch"] and not self._tape.header["coarse"]:
            recorded = torch.as_tensor(self._tape.state).to(x.device)
            if x.dtype != recorded.dtype or not torch.equal(x, recorded):
                raise TapeError(
                    "the state at the switch differs from the tape: another noise_sampler, another version of the "
                    "sampler or a callback that changes the latent"
                )
        if i >= self._tape.recorded:
            answer = self._model(x, sigma, *args, **kwargs)
            require_finite(answer, f"call {i} (sigma {level(sigma):g})")
            return answer
        if i in self._drew:
            restore(self._drew[i], x.device)
        return answer_of(self._tape, i)
