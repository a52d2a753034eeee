"""The model's stand-in for a whole preview, also for sampling loops that are no function."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from ...commutator import Path, Plan, Transport, VarianceExploding, tail_times
from ..errors import UnsupportedError
from .answering import LowAnswers, View
from .calling import checked_latent, checked_sigmas
from .generators import kept, restore, state
from .noise import GivenNoise, NoiseSampler, SharedDraws
from .proxy import Model, Proxy, Stop
from .recording import HeadRecorder, Recording
from .walking import Walk, one_call_per_step


@dataclass(frozen=True)
class Evaluations:
    """Model calls made, each for the whole batch."""

    high: int
    low: int


class CommutantDenoiser(Proxy):
    """A model that records the high-resolution head of a plan, and then answers the low-resolution run.

        denoiser = CommutantDenoiser(model, plan, sigmas)
        with denoiser.high(x):  # left as soon as the head is recorded
            my_loop(denoiser, x, sigmas)
        with denoiser.low() as (y, low_sigmas):
            y = my_loop(denoiser, y, low_sigmas)
        preview = denoiser.latent(y)

    The loop may be any code that is linear, pixel by pixel, in its latent, the model's answers and noise from
    `torch.randn_like` or `torch.randn`. It stays on its own sigmas: `low_sigmas` are they (fewer after the switch where
    the plan has a shorter tail), and the model is asked at the matched level. Attributes are the model's own. Guidance
    of kind "exact" or "lagged" writes to the latent that the loop hands over.
    """

    def __init__(
        self,
        model: Model,
        plan: Plan,
        sigmas: torch.Tensor,
        *,
        path: Path | None = None,
        walk: Callable[[torch.Tensor], Walk] = one_call_per_step,
    ) -> None:
        """`walk(sigmas)` says at which levels the loop asks its model, where not once at every sigma but the last.

        Raises ValueError where `plan` does not fit `sigmas`, and UnsupportedError where it has no exact replay.
        """
        super().__init__(model)
        self.plan, self.sigmas, self.path = plan, sigmas, path or VarianceExploding()
        if plan.head_steps is not None and plan.head_steps != len(sigmas) - 1:
            raise ValueError(f"the plan's head runs on {plan.head_steps} steps, got {len(sigmas) - 1}: give its sigmas")
        for t in checked_sigmas(sigmas):
            self.path.transport(1.0, t)
        self._walks: dict[tuple[float, ...], Walk] = {}
        self._walk_of = walk
        self._calls = self._walk(sigmas).first_call(plan.switch)
        self.recording: Recording | None = None
        self._given: dict[int, GivenNoise] = {}
        self._high: HeadRecorder | None = None
        self._low: LowAnswers | None = None
        self._now: HeadRecorder | LowAnswers | None = None

    def __call__(self, x: torch.Tensor, sigma: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        if self._now is None:
            raise RuntimeError("a CommutantDenoiser answers inside `with denoiser.high(x)` and `with denoiser.low()`")
        return self._now(x, sigma, *args, **kwargs)

    @property
    def evaluations(self) -> Evaluations:
        return Evaluations(self._high.evaluations if self._high else 0, self._low.evaluations if self._low else 0)

    def require_fits(self, x: torch.Tensor) -> None:
        """Raise before anything is computed: ShapeError or ValueError for latents that the plan's operator cannot take,
        UnsupportedError for a plan without exact replay or with another walk on its shorter tail."""
        operator = self.plan.operators()[0]
        operator.out_shape(checked_latent(x).shape)
        transport = Transport.of(operator, self.path, tuple(x.shape), self.plan.time)
        if self.plan.time == "same" and transport.gain != 1.0 and (self.plan.switch or self.plan.needs_reference):
            raise UnsupportedError(
                f"time='same' with {operator!r} divides signal and noise anew at every level and has no exact replay; "
                "use time='matched' or operator='strided'"
            )
        high, low = self._walk(self.sigmas), self._walk(self._low_sigmas(transport))
        n = self._calls + 1
        if low.calls[:n] != high.calls[:n]:
            raise UnsupportedError(
                "this sampler's noise levels depend on the number of steps (churn does): a tail of another length "
                "has no exact replay; use tail=None"
            )

    @contextmanager
    def high(self, x: torch.Tensor) -> Iterator[None]:
        """A block that runs the loop at high resolution, from `x`; it ends when the head is recorded.

        Raises UnsupportedError if the loop ends before that.
        """
        self.require_fits(x)
        self.recording = Recording(x.detach().clone(), state(x.device))
        recorder = HeadRecorder(self._model, self.recording, self._calls, reference=self.plan.needs_reference)
        self._now = self._high = recorder
        try:
            yield
        except Stop:
            pass
        finally:
            self._now = None
        if not self.recording.complete:
            raise UnsupportedError(f"the loop asked its model {len(self.recording.outputs)} times and never switched")

    @contextmanager
    def low(
        self, model: Model | None = None, extra_args: Mapping[str, Any] | None = None
    ) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """A block that runs the loop at low resolution; gives the latent and the sigmas to run it with.

        `model` and `extra_args`: in place of the head's, where they belong to a resolution. The noise is the
        high-resolution run's; torch's global generators are left as they were found.
        """
        recording = self.recording
        if recording is None or not recording.complete:
            raise RuntimeError("record a head first: `with denoiser.high(x)`")
        device = recording.noise.device
        with kept(device):
            operator = self.plan.operators()[0]
            transport = Transport.of(operator, self.path, tuple(recording.noise.shape), self.plan.time)
            sigmas = self._low_sigmas(transport)
            high_model, low = self._model, None
            if model is not None:
                self._model = model  # the loop reads its attributes through this one
            try:
                low = LowAnswers(self._model, self.plan, self.path, recording, self._walk(sigmas), extra_args)
                self._now = self._low = low
                start = low.start()
                restore(recording.began, device)
                low.draws = SharedDraws(low.view.noise, recording.noise, start)
                with low.draws:
                    yield start, sigmas
            finally:
                self._model, self._now = high_model, None
                if low is not None:
                    low.draws = None

    def low_levels(self) -> tuple[float, ...]:
        """The noise levels of the low-resolution steps as the model knows them, and the end."""
        assert self.recording is not None
        operator = self.plan.operators()[0]
        transport = Transport.of(operator, self.path, tuple(self.recording.noise.shape), self.plan.time)
        return tuple(transport.moved(t) for t in self._low_sigmas(transport).tolist())

    @property
    def choice(self) -> tuple[int, ...] | None:
        """Which candidate operator each sample got; None where the plan has one for all, or before the low block."""
        return getattr(self._low.view.transport.operator, "choice", None) if self._low is not None else None

    def latent(self, x: torch.Tensor) -> torch.Tensor:
        """The low-resolution latent for what the loop made in the low block."""
        return self._ran().latent(x)

    def noise_sampler(self, given: NoiseSampler) -> NoiseSampler:
        """`given` for the block that the loop is in: its draws are remembered in high, and seen through A in low."""
        shared = self._given.setdefault(id(given), GivenNoise(given))
        return shared.low(self._low.view.noise) if self._low is not None and self._now is self._low else shared.high

    def callback(self, user: Callable[[Any], Any] | None) -> Callable[[Any], Any] | None:
        """`user` for the block that the loop is in: it hears of every step that the model answered."""
        low = self._low is not None and self._now is self._low
        return self._ran().callback(user) if low and user is not None else user

    def _ran(self) -> LowAnswers:
        if self._low is None:
            raise RuntimeError("run the loop in `with denoiser.low()` first")
        return self._low

    def _walk(self, sigmas: torch.Tensor) -> Walk:
        key = tuple(sigmas.tolist())
        if key not in self._walks:
            self._walks[key] = self._walk_of(sigmas)
        return self._walks[key]

    def _low_sigmas(self, transport: Transport) -> torch.Tensor:
        """The schedule of the low-resolution run in the sampler's own levels: the plan's tail after the switch."""
        plan, sigmas = self.plan, self.sigmas
        remaining = len(sigmas) - 1 - plan.switch
        if plan.tail is None or plan.tail == remaining:
            return sigmas
        moved = tail_times(transport, sigmas.tolist(), plan.switch, plan.tail)
        back = [View(transport).origin(t) for t in moved[1:]]
        return torch.cat([sigmas[: plan.switch + 1], sigmas.new_tensor(back)])
