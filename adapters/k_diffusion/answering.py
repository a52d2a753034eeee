"""The low-resolution run: the same sampler on the same noise levels, with a model that knows about the operator.

The sampler keeps the high-resolution schedule. Its latent is `A x`, its recorded answers `A x0hat`, its noise `A eps`:
every sampler update is linear in these three, so it arrives at `A x_tD` with the history of its solver, whichever
sampler it is. Only the model must know that the noise of `A x` is smaller by the gain: it is asked about the state
`c A x` at the matched level `t'` (`c, t' = path.transport(g, t)`), and its denoised answer needs no change. On the
variance exploding path c = 1 and this equals the run on sigmas moved to `g sigma`, whose noise is the unit noise
`A eps / g`; but churn windows, Brownian trees and all coefficients stay those of the high-resolution run, to the bit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from ...commutator import Advance, DenoisedPrediction, Enter, Evaluate, Head, Path, Plan, Query, Transport, tail
from ..errors import UnsupportedError, require_finite
from .generators import restore
from .noise import SharedDraws
from .proxy import Model, Proxy, level
from .recording import Recording
from .walking import Walk


@dataclass(frozen=True)
class View:
    """Low-resolution arrays in the sampler's coordinates, and where the model stands in its own."""

    transport: Transport

    @property
    def moves(self) -> bool:
        """Whether the model's coordinates differ from the sampler's."""
        return self.transport.gain != 1.0 and self.transport.time == "matched"

    def noise(self, noise: torch.Tensor) -> torch.Tensor:
        """`A eps`, or unit noise where the levels stay the same."""
        same = self.transport.time == "same"
        return self.transport.noise(noise) if same else self.transport.operator(noise)

    def scale(self, sigma: float) -> float:
        """c: the model's state over the sampler's."""
        return self.transport.path.transport(self.transport.gain, sigma)[0] if self.moves else 1.0

    def origin(self, moved: float) -> float:
        """The sampler's level for the model's."""
        return self.transport.path.transport(1.0 / self.transport.gain, moved)[1] if self.moves else moved

    def state(self, x: torch.Tensor, sigma: float) -> torch.Tensor:
        """The model's state for the sampler's."""
        c = self.scale(sigma)
        return x if c == 1.0 else x * c


class LowAnswers(Proxy):
    """Answers the sampler's low-resolution run: from the recording, then by the model with the plan's guidance."""

    def __init__(
        self,
        model: Model,
        plan: Plan,
        path: Path,
        recording: Recording,
        walk: Walk,
        extra_args: Mapping[str, Any] | None = None,
    ) -> None:
        """`walk`: of the low-resolution run, in the sampler's own levels. `extra_args`: unless as at the switch."""
        super().__init__(model)
        assert recording.state is not None
        self._recording, self._walk = recording, walk
        self._switch = len(recording.states)
        self.evaluations = 0
        self.real = False  # whether the last answer was the model's own
        self._index = 0
        self._corrects = plan.guidance is not None and plan.guidance.kind in ("exact", "lagged")
        # The paper corrects states, in the path's own prediction; all else is stated in the denoised one.
        self._path = path if self._corrects else DenoisedPrediction(path)
        self._told: tuple[Any, Any, Any] = (None, None, None)  # the last evaluation: state, raw output, denoised answer
        self.draws: SharedDraws | None = None
        levels = (*walk.calls, walk.end)
        outputs = tuple(map(self._path.output, recording.outputs, [*recording.states, recording.state], levels))
        head = Head(levels, self._switch, tuple(recording.states), outputs, recording.state)
        self._conversation = tail(plan.replaced(tail=None), self._path, head)
        with torch.set_grad_enabled(recording.grad):
            asked = (recording.args, recording.kwargs) if extra_args is None else ((), extra_args)
            request = self._until(Enter, None, *asked)
        self.view = View(request.transport)

    def start(self) -> torch.Tensor:
        """The sampler's first latent, memory of its own."""
        return self.view.noise(self._recording.noise).clone()

    def __call__(self, x: torch.Tensor, sigma: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        if self.draws is None:
            return self._answered(x, sigma, args, kwargs)
        with self.draws.paused():
            return self._answered(x, sigma, args, kwargs)

    def callback(self, user: Callable[[Any], Any]) -> Callable[[dict[str, Any]], None]:
        """The user's callback for the steps that the model really answered, told in the model's coordinates."""

        def called(info: dict[str, Any]) -> None:
            if self.real:
                user(self._told_to_user(info) if self.view.moves else info)

        return called

    def latent(self, x: torch.Tensor) -> torch.Tensor:
        """The low-resolution latent for the sampler's result."""
        return self.view.state(x, self._walk.end)

    def _answered(self, x: torch.Tensor, sigma: torch.Tensor, args: Any, kwargs: Mapping[str, Any]) -> torch.Tensor:
        note = self._recording
        i, t = self._index, self._walk.expected(self._index, level(sigma))
        self._index += 1
        if i < self._switch:
            restore(note.moved[i], note.noise.device)
            return self.view.transport.operator(note.outputs[i]).clone()
        if i == self._switch:
            self._require_arrival(x)
            restore(note.stopped, note.noise.device)
        self.real = True
        y, low = self.view.state(x, t), self.view.transport.moved(t)
        request = self._until(Advance, None if i == self._switch else Query(y, low), args, kwargs)
        if self._corrects and request.x is not y:
            x.copy_(request.x / self.view.scale(t))
        state, output, denoised = self._told
        if request.x is state and request.output is output:
            return denoised
        return self._path.denoised(request.output, request.x, low)

    def _require_arrival(self, x: torch.Tensor) -> None:
        note = self._recording
        assert note.state is not None
        expected = self.view.noise(note.state)
        # Rounding of the narrowest latent of the run, the first one, with room: a wrong state is off by its own size.
        allowed = 4 * torch.finfo(note.noise.dtype).eps ** 0.5 * float(expected.abs().max())
        if not float((x - expected).abs().max()) <= allowed:
            raise UnsupportedError(
                "the low-resolution run does not arrive at the transported state: something other than the sampler, a "
                "callback perhaps, changed the latent during the high-resolution steps; a preview cannot repeat that"
            )

    def _until(self, kind: type, reply: Any, args: Any, kwargs: Mapping[str, Any]) -> Any:
        """The conversation's next request of this kind; evaluations before it are made."""
        request = self._conversation.send(reply)
        while isinstance(request, Evaluate):
            request = self._conversation.send(self._evaluate(request, args, kwargs))
        assert isinstance(request, kind), f"a tail enters once and then advances, it asked for {request}"
        return request

    def _evaluate(self, request: Evaluate, args: Any, kwargs: Mapping[str, Any]) -> torch.Tensor:
        sigma = self._recording.sigma
        assert sigma is not None
        denoised = self._model(request.x, torch.full_like(sigma, request.t), *args, **kwargs)
        self.evaluations += 1
        require_finite(denoised, f"low-resolution evaluation {self.evaluations} (sigma {request.t:g})")
        # A copy: the answer itself goes to the sampler, and the conversation keeps the first one for later.
        output = self._path.output(denoised.clone(), request.x, request.t)
        self._told = request.x, output, denoised
        return output

    def _told_to_user(self, info: dict[str, Any]) -> dict[str, Any]:
        told = dict(info)
        if "sigma" not in info:  # uni_pc: its x is in coordinates of its own, at no level that it names
            return told
        at = level(info.get("sigma_hat", info["sigma"]))
        told["x"] = self.view.state(info["x"], at)
        for key in {"sigma", "sigma_hat"} & told.keys():
            moved = self.view.transport.moved(level(told[key]))
            told[key] = torch.full_like(torch.as_tensor(told[key]), moved)
        return told
