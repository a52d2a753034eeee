"""A run of the sampler that begins again: its first calls are answered from a recording, the others by the model.

A sampler owns its loop and the history of its solver, so it is never entered, only run again, from the first step, with
another model in its place. In a stage of a plan it stays on high-resolution noise levels. Its latent is `A x`, its
recorded answers are `A x0hat`, its noise is `A eps`: every update is linear in these three, so it arrives at `A x_t` at
the switch with the history of its solver, whichever sampler it is. `A` is the product of the operators so far.

Only the model must know that the noise of `A x` is smaller by the gain: it is evaluated at the state `c A x` and the
matched level `t'` (`c, t' = path.transport(g, t)`), and its denoised answer needs no change. On the variance exploding
path c = 1 and this equals the run on sigmas moved to `g sigma`, whose noise is the unit noise `A eps / g`; but churn
windows, Brownian trees and all coefficients stay those of the high-resolution run, to the bit.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import torch

from ...commutator import Advance, Enter, Evaluate, Motion, Path, Query, Stay, Trajectory, Transport
from ..errors import UnsupportedError, require_finite
from .calling import Model, Proxy, Stop, level
from .randomness import SharedDraws, State, restore, state
from .recording import Past, Switch
from .rehearsal import Walk


@dataclass(frozen=True)
class StageView:
    """A stage in the sampler's coordinates, and in the model's.

    Attributes:
        parts: the transports from the final's resolution to that of the stage, the stage's own last.
    """

    parts: tuple[Transport | Stay, ...]
    elsewhere = (
        "the low-resolution run does not arrive at the transported state: something other than the sampler, a callback "
        "perhaps, changed the latent during the high-resolution steps; a preview cannot repeat that"
    )

    @property
    def rescales(self) -> bool:
        """Whether the model's coordinates differ from the sampler's."""
        return any(_rescales(part) for part in self.parts)

    def noise(self, noise: torch.Tensor) -> torch.Tensor:
        """High-resolution noise as the sampler adds it here: `A eps`, or unit noise where the levels stay the same."""
        for part in self.parts:
            noise = _carried(part, noise)
        return noise

    def answer(self, answer: torch.Tensor) -> torch.Tensor:
        """An answer of the run before."""
        out: torch.Tensor = self.parts[-1].operator(answer)
        return out

    def arrival(self, x: torch.Tensor, sigma: float) -> torch.Tensor:
        """The sampler's state for its state in the run before."""
        return _carried(self.parts[-1], x)

    def factor(self, sigma: float) -> float:
        """c: the model's state over the sampler's."""
        c = 1.0
        for part in self.parts:
            if isinstance(part, Transport) and _rescales(part):
                c_part, sigma = part.path.transport(part.gain, sigma)
                c *= c_part
        return c

    def state(self, x: torch.Tensor, sigma: float) -> torch.Tensor:
        """The model's state for the sampler's."""
        c = self.factor(sigma)
        return x if c == 1.0 else x * c

    def time_of(self, sigma: float) -> float:
        """The model's level for the sampler's."""
        for part in self.parts:
            sigma = part.time_of(sigma)
        return sigma

    def sampler_level(self, sigma: float) -> float:
        """The sampler's level for the model's."""
        for part in reversed(self.parts):
            if isinstance(part, Transport) and _rescales(part):
                sigma = part.path.transport(1.0 / part.gain, sigma)[1]
        return sigma


@dataclass(frozen=True)
class MotionView:
    """A run along a motion: the sampler's coordinates are the model's."""

    motion: Motion
    rescales = False
    elsewhere = (
        "the transformed run does not arrive at the transformed state: this sampler does not carry its first noise "
        "along as its noise levels say, or a callback changed the latent; use euler, heun or dpmpp_2m"
    )

    def answer(self, answer: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.motion.operator(answer)
        return out

    def arrival(self, x: torch.Tensor, sigma: float) -> torch.Tensor:
        out: torch.Tensor = self.motion.state(x, sigma)
        return out

    def factor(self, sigma: float) -> float:
        return 1.0

    def state(self, x: torch.Tensor, sigma: float) -> torch.Tensor:
        return x

    def time_of(self, sigma: float) -> float:
        return sigma


View = TypeVar("View", "StageView", "MotionView")


class Replay(Proxy):
    """Answers the first calls of a run as they were answered before, and the others by the model."""

    def __init__(self, model: Model, repeated: int) -> None:
        super().__init__(model)
        self._repeated = repeated
        self._index = 0

    def __call__(self, x: torch.Tensor, sigma: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        i, self._index = self._index, self._index + 1
        self._check(i, x, sigma)
        return self._recorded(i, x) if i < self._repeated else self._asked(i, x, sigma, args, kwargs)

    @abstractmethod
    def _check(self, i: int, x: torch.Tensor, sigma: torch.Tensor) -> None:
        """Raise where call `i` is not the one that was recorded, or not at the state that it should be at."""

    @abstractmethod
    def _recorded(self, i: int, x: torch.Tensor) -> torch.Tensor:
        """The answer to call `i`, memory of its own; the generators are set as they were after it."""

    @abstractmethod
    def _asked(self, i: int, x: torch.Tensor, sigma: torch.Tensor, args: Any, kwargs: Mapping[str, Any]) -> Any:
        """The model's answer to call `i`."""


class Continuation(Replay, Generic[View]):
    """A run that continues a recorded one: at another resolution, on another schedule, or along a motion.

    Attributes:
        view: the run in the sampler's coordinates and the model's. transport: of the run itself.
        evaluations: of the model, so far.
        left: what the run leaves for the next one, once it is there.
        draws: answers the sampler's draws while its run lasts.
    """

    def __init__(
        self,
        model: Model,
        conversation: Any,
        path: Path,
        past: Past,
        walk: Walk,
        view: Callable[[Any], View],
        *,
        until: int | None = None,
        extra_args: Mapping[str, Any] | None = None,
        stays: bool = False,
    ) -> None:
        """`conversation` is that of `run_stage` or of a transform, on `path`; `view` makes the view of its transport.

        `walk` is that of the run, in the sampler's own levels. `until`: how many calls it has after the switch, where
        another run follows. `extra_args` take the place of those in the call at the switch.
        What the conversation evaluates before it enters (candidates, or its first state) is evaluated here; `stays`, at
        the resolution of the recorded run: with the random numbers that its model would have drawn.
        """
        super().__init__(model, len(past.answers))
        self._conversation, self._path, self._past, self._walk, self._until = conversation, path, past, walk, until
        self.evaluations = 0
        self.left: Past | None = None
        self.draws: SharedDraws | None = None
        self._answered = False  # whether the last answer was the model's own
        self._level = 0.0  # the sampler's, of the present call
        self._last: tuple[Any, Any, Any] = (None, None, None)  # evaluation: state, raw output, denoised answer
        # For the run that follows, at this resolution: as in `Past`.
        self._answers: list[torch.Tensor] = []
        self._after: list[State] = []
        self._written: dict[int, torch.Tensor] = {}
        switch = past.switch
        self._generators = switch.generators
        if stays:
            restore(self._generators, switch.state.device)
        with torch.set_grad_enabled(switch.grad):
            request = self._next(
                Enter, None, *((switch.args, switch.kwargs) if extra_args is None else ((), extra_args))
            )
        if stays:
            self._generators = state(switch.state.device)
        self.transport = request.transport
        self.view: View = view(self.transport)

    def __call__(self, x: torch.Tensor, sigma: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        if self.draws is None:
            return super().__call__(x, sigma, *args, **kwargs)
        with self.draws.paused():
            return super().__call__(x, sigma, *args, **kwargs)

    def callback(self, user: Callable[[Any], Any] | None) -> Callable[[Any], Any] | None:
        """The user's callback for the steps that the model answered in this run, in the model's coordinates."""
        if user is None:
            return None

        def called(info: dict[str, Any]) -> None:
            if self._answered:
                user(self._in_model_coordinates(info) if self.view.rescales else info)

        return called

    def latent(self, x: torch.Tensor) -> torch.Tensor:
        """The result in the model's coordinates for the sampler's."""
        return self.view.state(x, self._walk.end)

    def _check(self, i: int, x: torch.Tensor, sigma: torch.Tensor) -> None:
        self._level = self._walk.expected(i, level(sigma))
        if i == self._repeated:
            expected = self.view.arrival(self._past.switch.state, self._level)
            _require_arrival(x, expected, self._past.dtype, self.view.elsewhere)
            restore(self._generators, x.device)

    def _recorded(self, i: int, x: torch.Tensor) -> torch.Tensor:
        restore(self._past.after[i], x.device)
        if i in self._past.written:
            self._write(i, x, self.view.arrival(self._past.written[i], self._level))
        return self._noted(self.view.answer(self._past.answers[i]).clone())

    def _asked(
        self, i: int, x: torch.Tensor, sigma: torch.Tensor, args: Any, kwargs: Mapping[str, Any]
    ) -> torch.Tensor:
        t = self._level
        y, low = self.view.state(x, t), self.view.time_of(t)
        query = None if i == self._repeated else Query(y, low)
        if self._until is not None and i == self._repeated + self._until:
            self._leave(x, sigma, query, args, kwargs)
        self._answered = True
        request = self._next(Advance, query, args, kwargs)
        # Kinds that correct states are on the path itself, the others on its denoised prediction and leave the state.
        if request.x is not y and self._past.corrects:
            self._write(i, x, request.x / self.view.factor(t))
        state, output, denoised = self._last
        if request.x is state and request.output is output:
            return self._noted(denoised)
        # A copy: the conversation keeps its outputs for later, and a sampler may write to what it is given.
        return self._noted(self._path.denoised(request.output, request.x, low).clone())

    def _write(self, i: int, x: torch.Tensor, value: torch.Tensor) -> None:
        """Correct the sampler's own state, in the call that it asks about it."""
        x.copy_(value)
        if self._until is not None:
            self._written[i] = x.detach().clone()

    def _noted(self, answer: torch.Tensor) -> torch.Tensor:
        if self._until is not None:
            self._answers.append(answer.detach().clone())
            self._after.append(state(answer.device))
        return answer

    def _leave(self, x: torch.Tensor, sigma: torch.Tensor, query: Any, args: Any, kwargs: Mapping[str, Any]) -> None:
        """End the run at the switch to the next."""
        before = x.detach().clone()
        trajectory = self._next(Trajectory, query, args, kwargs)
        switch = Switch.of(before, sigma, args, kwargs)
        self.left = Past(
            self._answers, self._after, switch, trajectory, self._past.dtype, self._past.corrects, self._written
        )
        raise Stop

    def _next(self, kind: type, reply: Any, args: Any, kwargs: Mapping[str, Any]) -> Any:
        """The conversation's next request of this kind, or its result; evaluations before it are made."""
        try:
            request = self._conversation.send(reply)
            while isinstance(request, Evaluate):
                request = self._conversation.send(self._evaluate(request, args, kwargs))
        except StopIteration as stop:
            request = stop.value
        assert isinstance(request, kind), f"a {kind.__name__} was due, not {request}"
        return request

    def _evaluate(self, request: Evaluate, args: Any, kwargs: Mapping[str, Any]) -> torch.Tensor:
        denoised = self._model(request.x, torch.full_like(self._past.switch.sigma, request.t), *args, **kwargs)
        self.evaluations += 1
        require_finite(denoised, f"evaluation {self.evaluations} of this stage (sigma {request.t:g})")
        # A copy: the answer itself goes to the sampler, and the conversation keeps the first one for later.
        output: torch.Tensor = self._path.output(denoised.clone(), request.x, request.t)
        self._last = request.x, output, denoised
        return output

    def _in_model_coordinates(self, info: dict[str, Any]) -> dict[str, Any]:
        out = dict(info)
        if "sigma" not in info:  # uni_pc: its x is in coordinates of its own, at no level that it names
            return out
        at = level(info.get("sigma_hat", info["sigma"]))
        out["x"] = self.view.state(info["x"], at)
        for key in {"sigma", "sigma_hat"} & out.keys():
            moved = self.view.time_of(level(out[key]))
            out[key] = torch.full_like(torch.as_tensor(out[key]), moved)
        return out


def _require_arrival(x: torch.Tensor, expected: torch.Tensor, narrowest: torch.dtype, elsewhere: str) -> None:
    # Rounding of the narrowest latent of the run, the first one, with room: a wrong state is off by its own size.
    allowed = 4 * torch.finfo(narrowest).eps ** 0.5 * float(expected.abs().max())
    if not float((x - expected).abs().max()) <= allowed:
        raise UnsupportedError(elsewhere)


def _rescales(part: Transport | Stay) -> bool:
    return isinstance(part, Transport) and part.gain != 1.0 and part.time == "matched"


def _carried(part: Transport | Stay, x: torch.Tensor) -> torch.Tensor:
    same = isinstance(part, Transport) and part.time == "same"
    out: torch.Tensor = part.noise(x) if same else part.operator(x)
    return out
