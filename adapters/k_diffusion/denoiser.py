"""The model's stand-in for a whole preview, also for sampling loops that are no function."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import torch

from ...commutator import (
    DenoisedPrediction,
    Path,
    Plan,
    Stay,
    Transport,
    Transports,
    VarianceExploding,
    run_stage,
    shown,
    stage_times,
)
from ...commutator.steps import Extrapolation
from ..errors import UnsupportedError
from .calling import Model, Proxy, ScheduleError, Stop, checked_latent, checked_sigmas
from .randomness import GivenNoise, NoiseSampler, SharedDraws, preserved, restore
from .recording import Past, Recorder, Recording, Step
from .rehearsal import Walk, one_call_per_step
from .replay import Continuation, StageView


@dataclass(frozen=True)
class Evaluations:
    """Model calls made, each for the whole batch: at the final's resolution, and at lower ones."""

    high: int
    low: int


class CommutantDenoiser(Proxy):
    """A model that records the head of a plan, and then answers its stages.

        denoiser = CommutantDenoiser(model, plan, sigmas)
        with denoiser.head(x) as (y, levels):  # left as soon as the head is recorded
            my_loop(denoiser, y, levels)
        for _ in plan.later:
            with denoiser.stage() as (y, levels):  # left as soon as the stage is over
                y = my_loop(denoiser, y, levels)
        preview = denoiser.latent(y)

    The loop may be any code that is linear, pixel by pixel, in its latent, the model's answers and noise from
    `torch.randn_like` or `torch.randn`. It runs from the beginning in every block, always on high-resolution sigmas:
    `levels` are the final's up to the head's end, and then those of the stages; the model is asked at the matched
    level. Attributes are the model's own. Guidance of kind "exact" or "lagged" writes to the latent that the loop hands
    over. Stages of order 2 need a loop whose steps are Euler's.
    """

    def __init__(
        self,
        model: Model,
        plan: Plan,
        sigmas: torch.Tensor,
        *,
        path: Path | None = None,
        walk: Callable[[torch.Tensor], Walk] = one_call_per_step,
        own_sigmas: torch.Tensor | None = None,
    ) -> None:
        """
        Args:
            sigmas: of the final, N + 1 falling noise levels.
            path: VarianceExploding() unless given.
            walk: `walk(sigmas)` says at which levels the loop asks its model, where not once at every sigma but the
                last.
            own_sigmas: for a plan with `own_schedule`: that schedule, of `plan.steps` steps from sigmas[0] on. None:
                `sigmas` read at evenly spaced indices.

        Raises:
            ValueError: `plan` does not fit `sigmas`, or `own_sigmas` neither.
            UnsupportedError: for a plan that ends its head by what it sees.
        """
        super().__init__(model)
        if plan.early_switch is not None:
            raise UnsupportedError("early_switch is not supported here: a loop's head has a fixed length; leave it out")
        self.plan, self.path = plan, path or VarianceExploding()
        self.sigmas = _first_sigmas(plan, sigmas, own_sigmas)
        for t in checked_sigmas(self.sigmas):
            self.path.transport(1.0, t)
        self._walks: dict[tuple[float, ...], Walk] = {}
        self._walk_of = walk
        self._calls = self._walk(self.sigmas).first_call(plan.first_run.steps)
        guidance = [stage.guidance for stage in plan.stages if stage.guidance is not None]
        self._corrects = any(g.kind in ("exact", "lagged") for g in guidance)
        # The paper corrects states, in the path's own prediction; all else is stated in the denoised one.
        self._path = self.path if self._corrects else DenoisedPrediction(self.path)
        self.recording: Recording | None = None
        self._transports: tuple[Transport | Stay, ...] = ()  # of the stages, with the first candidate of each
        self._given: dict[int, GivenNoise] = {}
        self._past: Past | None = None  # what the next run repeats
        self._recorder: Recorder | None = None
        self._runs: list[Continuation[StageView]] = []  # one a stage
        self._now: Recorder | Continuation[StageView] | None = None

    def __call__(self, x: torch.Tensor, sigma: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        if self._now is None:
            raise RuntimeError("a CommutantDenoiser answers inside `with denoiser.head(x)` and `with denoiser.stage()`")
        out: torch.Tensor = self._now(x, sigma, *args, **kwargs)
        return out

    @property
    def evaluations(self) -> Evaluations:
        counts = [self._recorder.evaluations if self._recorder else 0, 0]
        for i, run in zip(self.plan.later, self._runs, strict=False):
            counts[self.plan.stages[i].scale > 1] += run.evaluations
        return Evaluations(*counts)

    def require_fits(self, x: torch.Tensor) -> None:
        """Raise before anything is computed: ShapeError or ValueError for latents that the plan's operators cannot
        take, UnsupportedError for a plan without exact replay or with other calls before the switch on the stages'
        schedule."""
        self._transports = self._fitted(tuple(checked_latent(x).shape))
        if not self.plan.later:
            return
        n = self._calls + 1
        walk = self._walk(self.stage_sigmas)
        if walk.calls[:n] != self._walk(self.sigmas).calls[:n]:
            raise ScheduleError(
                "this sampler's noise levels depend on the number of steps (churn does): stages of another number of "
                "steps have no exact replay; use one stage with steps=None"
            )
        self._bounds(walk)

    @property
    def stage_sigmas(self) -> torch.Tensor:
        """The schedule of the stages in the sampler's own levels: the head's to its end, then the plan's steps."""
        if not reschedules(self.plan, self.sigmas):
            return self.sigmas
        head, steps, levels = self.plan.head, self.plan.steps, self.sigmas.tolist()
        view = StageView(self._transports if len(self._transports) == 1 else ())
        grid = stage_times(Transports(view.parts), levels, head, steps)
        rest = [view.sampler_level(t) for t in grid[1:]]
        return torch.cat([self.sigmas[: head + 1], self.sigmas.new_tensor(rest)])

    @contextmanager
    def head(self, x: torch.Tensor) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """A block that runs the loop from `x`, at its resolution; it ends when the head is recorded.

        Gives the latent and the sigmas to run the loop with: those of the final, or the plan's own schedule.
        Raises as `require_fits`, and UnsupportedError if the loop ends before the head does.
        """
        self.require_fits(x)
        first = self.plan.first_run
        self.recording, self._runs, self._past = Recording.of(x), [], None
        step = None if first.order == 1 else self._extrapolating(first.order)
        recorder = Recorder(self._model, self.recording, self._calls, reference=first.reference, step=step)
        self._now = self._recorder = recorder
        try:
            yield x.clone(), self.sigmas
        except Stop:
            pass
        finally:
            self._now = None
        if self.recording.switch is None:
            raise UnsupportedError(f"the loop asked its model {len(self.recording.outputs)} times and never switched")
        walk = self._walk(self.sigmas)
        self._past = self.recording.past(self._path, (*walk.calls, walk.end), corrects=self._corrects)

    @contextmanager
    def stage(
        self, model: Model | None = None, extra_args: Mapping[str, Any] | None = None
    ) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """A block that runs the loop in the next stage of `plan.later`; gives the latent and the sigmas for it.

        `model` and `extra_args`: in place of the head's, where they belong to a resolution. The noise is that of the
        run at high resolution; torch's global generators are left as they were found. A block that an exception ends
        can be entered again.
        """
        recording, past, done = self.recording, self._past, len(self._runs)
        if recording is None or past is None:
            raise RuntimeError("record a head first: `with denoiser.head(x)`")
        if done == len(self.plan.later):
            raise RuntimeError("the plan has no further stage: `with denoiser.head(x)` begins another preview")
        device = recording.noise.device
        with preserved(device):
            high_model = self._model
            if model is not None:
                self._model = model  # the loop reads its attributes through this one
            run = None
            try:
                run = self._continuation(done, past, extra_args)
                start = run.view.noise(recording.noise).clone()
                restore(recording.began, device)
                run.draws = SharedDraws(run.view.noise, recording.noise, start)
                self._now = run
                self._runs.append(run)
                with run.draws:
                    yield start, self.stage_sigmas
            except Stop:
                pass
            except BaseException:
                del self._runs[done:]
                raise
            finally:
                self._model, self._now = high_model, None
                if run is not None:
                    run.draws = None
        if done + 1 < len(self.plan.later):
            if run is None or run.left is None:
                del self._runs[done:]
                raise UnsupportedError("the loop ended before its stage did")
            self._past = run.left

    @property
    def low_levels(self) -> tuple[float, ...]:
        """The noise levels of the last stage's run as the model knows them, and the end."""
        return tuple(map(Transports(self._transports).time_of, self.stage_sigmas.tolist()))

    @property
    def choice(self) -> tuple[int, ...] | None:
        """Which candidate operator each sample got; None where the plan has one for all, or before the stage."""
        choices = [getattr(run.transport.operator, "choice", None) for run in self._runs]
        return next((choice for choice in choices if choice is not None), None)

    def latent(self, x: torch.Tensor) -> torch.Tensor:
        """The preview's latent for what the loop made in the last block; without stages the denoised prediction that
        the head ended with. RuntimeError before all blocks are over."""
        if self._past is None or len(self._runs) < len(self.plan.later):
            raise RuntimeError("run the loop in `with denoiser.head(x)` and in `with denoiser.stage()` for every stage")
        if self._runs:
            return self._runs[-1].latent(x)
        out: torch.Tensor = shown(self._path, self._past.trajectory)
        return out.clone()

    def noise_sampler(self, given: NoiseSampler) -> NoiseSampler:
        """`given` for the block that the loop is in: its draws are remembered, and in stages mapped to their scale."""
        shared = self._given.setdefault(id(given), GivenNoise(given))
        return shared.low(self._now.view.noise) if isinstance(self._now, Continuation) else shared.high

    def callback(self, user: Callable[[Any], Any] | None) -> Callable[[Any], Any] | None:
        """`user` for the block that the loop is in: called once for every step that the model answered."""
        return self._now.callback(user) if isinstance(self._now, Continuation) else user

    def _continuation(self, done: int, past: Past, extra_args: Mapping[str, Any] | None) -> Continuation[StageView]:
        index = self.plan.later[done]
        stage = self.plan.stages[index]
        candidates = stage.candidates(self.plan.scale_before(index))
        walk, last = self._walk(self.stage_sigmas), done + 1 == len(self.plan.later)
        switch = len(past.answers)
        until = None if last else self._bounds(walk)[done + 1] - switch
        time_of = Transports(self._transports[: done + 1]).time_of
        times = [time_of(t) for t in (*walk.calls[switch:], walk.end)]
        reference = not last and self.plan.reference(index + 1)
        conversation = run_stage(
            stage, candidates, self._path, past.trajectory, times, until=until, reference=reference
        )
        before = tuple(run.transport for run in self._runs)
        return Continuation(
            self._model,
            conversation,
            self._path,
            past,
            walk,
            lambda transport: StageView((*before, transport)),
            until=until,
            extra_args=extra_args,
            stays=not candidates,
        )

    def _bounds(self, walk: Walk) -> list[int]:
        """The calls that begin the stages of `plan.later`."""
        steps = [self.plan.stages[i].steps or 0 for i in self.plan.later[:-1]]
        return [walk.first_call(step) for step in accumulate(steps, initial=self.plan.first_run.steps)]

    def _fitted(self, shape: tuple[int, ...]) -> tuple[Transport | Stay, ...]:
        transports: list[Transport | Stay] = []
        for i in self.plan.later:
            stage = self.plan.stages[i]
            candidates = stage.candidates(self.plan.scale_before(i))
            if not candidates:
                transports.append(Stay())
                continue
            operator = candidates[0]
            after = operator.out_shape(shape)
            transport = Transport.of(operator, self._path, shape, stage.time)
            started = self.plan.head or i or self.plan.reference(i)
            if stage.time == "same" and transport.gain != 1.0 and started:
                raise UnsupportedError(
                    f"time='same' with {operator!r} divides signal and noise anew at every level and has no exact "
                    "replay; use time='matched' or operator='strided'"
                )
            transports.append(transport)
            shape = tuple(after)
        return tuple(transports)

    def _extrapolating(self, order: int) -> Step:
        """What the sampler gets in the first run, for steps of another order."""
        walk = self._walk(self.sigmas)
        extrapolation = Extrapolation(DenoisedPrediction(self.path), order)
        levels = (*walk.calls, walk.end)

        def step(i: int, answer: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
            out: torch.Tensor = extrapolation(answer, x, levels[i], levels[i + 1])
            return out

        return step

    def _walk(self, sigmas: torch.Tensor) -> Walk:
        key = tuple(sigmas.tolist())
        if key not in self._walks:
            self._walks[key] = self._walk_of(sigmas)
        return self._walks[key]


def reschedules(plan: Plan, sigmas: torch.Tensor) -> bool:
    """Whether the stages of `plan` run on another schedule than its head, which runs on `sigmas`."""
    return bool(plan.later) and not plan.own_schedule and plan.steps not in (None, len(sigmas) - 1 - plan.head)


def _first_sigmas(plan: Plan, sigmas: torch.Tensor, own: torch.Tensor | None) -> torch.Tensor:
    """The schedule of the run from the noise."""
    levels = checked_sigmas(sigmas)
    if not plan.own_schedule:
        if own is not None:
            raise ValueError(
                "own_sigmas are for a plan with a schedule of its own: head=0 and a first stage of scale 1"
            )
        return sigmas
    if own is None:
        return (
            sigmas if plan.steps == len(levels) - 1 else sigmas.new_tensor(stage_times(Stay(), levels, 0, plan.steps))
        )
    first = checked_sigmas(own)[0]
    if len(own) - 1 != plan.steps:
        raise ValueError(f"the plan's own schedule has {plan.steps} steps, own_sigmas have {len(own) - 1}")
    if abs(first - levels[0]) > 1e-3 * levels[0]:
        raise ValueError(f"own_sigmas begin at {first}, the final's sigmas, and with them x, at {levels[0]}")
    return own
