"""The run of a preview from the noise, at high resolution, and what a preview without stages shows.

The user's step callback sees every run of a preview, once per solver step and never for bookkeeping.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from ...commutator import Advance, Evaluate, Plan, Query, Trajectory, run_head
from ..errors import UnsupportedError
from .caches import Memory
from .finish import same_tensor
from .noise import StepNoise
from .run import Loop, Step, Stop
from .schedulers import Binding, Timetable

STATE = "latents"  # the one thing a callback may change: the plan carries states, not the pipeline's other variables


def for_head(call: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of the head's call."""
    user = call.get("callback_on_step_end")
    if user is None:
        return {}

    def callback(pipe: Any, step: int, timestep: Any, values: Mapping[str, Any]) -> Any:
        return watched(user, pipe, step, timestep, values)

    return {"callback_on_step_end": callback}


def watched(user: Any, pipe: Any, step: int, timestep: Any, values: Any) -> Any:
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


class ProbeLoop(Loop):
    """Reads the first state; evaluates nothing."""

    unit_noise = True

    def __init__(self) -> None:
        super().__init__()
        self.gate.skip = True
        self.sample: torch.Tensor | None = None

    def step(self, real: Step, output: torch.Tensor, timestep: Any, sample: torch.Tensor) -> torch.Tensor:
        self.sample = sample
        raise Stop


class HeadLoop(Loop):
    """Makes and records the run of a plan from the noise, at high resolution, then stops the call.

    Args:
        plan: whose first run it is; it counts steps, the loop evaluations.
        check: raises for a schedule that the stages of the plan could not follow; called before any evaluation.
        known: (outputs, first noise) that are on tape already: those are not evaluated again.

    Raises TapeError when the run does not start from the noise that the known outputs belong to.
    """

    def __init__(
        self,
        plan: Plan,
        binding: Binding,
        check: Callable[[Timetable], None],
        known: tuple[Sequence[torch.Tensor], torch.Tensor] | None = None,
    ) -> None:
        super().__init__()
        self.head: Trajectory | None = None
        self.index = 0
        self.noises: list[torch.Tensor | None] = []  # what the solver drew in each step
        self.memory: Memory = []  # of the transformer's cache after the head's evaluations
        self._first, self._early_switch = plan.first_run, plan.early_switch
        self._evaluations = binding.evaluation(self._first.steps)
        self._binding, self._check = binding, check
        self._timetable: Timetable | None = None
        self._conversation: Any = None
        most = self._evaluations + int(self._first.reference)
        self._known: Sequence[torch.Tensor] = () if known is None else known[0][:most]
        self._noise = None if known is None else known[1]
        self._most = most
        self._gate()

    @property
    def recorded(self) -> Trajectory:
        """The head, once the run has stopped."""
        assert self.head is not None
        return self.head

    @property
    def timetable(self) -> Timetable:
        """The schedule of the run."""
        assert self._timetable is not None
        return self._timetable

    def scheduled(self, scheduler: Any) -> None:
        self._timetable = self._binding.read(scheduler)
        self._check(self._timetable)

    @property
    def evaluated(self) -> int:
        """How many answers the model was asked for."""
        return max(0, len(self.recorded.outputs) - len(self._known))

    def _gate(self) -> None:
        self.gate.skip = self.index < len(self._known) or self.index >= self._most

    def step(self, real: Step, output: torch.Tensor, timestep: Any, sample: torch.Tensor) -> torch.Tensor:
        query = Query(sample, self.timetable.times[self.index])
        if self.index == 0 and self._noise is not None:
            same_tensor(sample, self._noise, "the initial noise")
        if self.index < len(self._known):
            output = self._known[self.index].to(output.device)
        try:
            if self._conversation is None:
                self._conversation = run_head(
                    self._binding.path,
                    self.timetable.times,
                    query,
                    self._evaluations,
                    reference=self._first.reference,
                    early_switch=self._early_switch,
                    order=self._first.order,
                )
                request = next(self._conversation)
            else:
                request = self._conversation.send(query)
            assert isinstance(request, Evaluate), "a head evaluates every state it is asked about"
            request = self._conversation.send(output)
            assert isinstance(request, Advance), "a head steps on with every answer but the last"
        except StopIteration as done:
            self.head = done.value
            self.memory = self.caches.taken()
            raise Stop from None
        self.index += 1
        self._gate()
        with StepNoise() as noise:
            following = real(request.output, timestep, sample)
        self.noises.append(noise.drawn())
        return following


class ShowLoop(Loop):
    """One ordinary pipeline call that evaluates nothing and ends with the given latents.

    Args:
        latents: in the solver's layout and dtype: the denoised prediction of the whole batch.
    """

    unit_noise = True

    def __init__(self, latents: torch.Tensor) -> None:
        super().__init__()
        self.gate.skip = True
        self.latents = latents
        self.advanced = False  # nothing here is a step: the user's callback has seen those of the head

    def step(self, real: Step, output: torch.Tensor, timestep: Any, sample: torch.Tensor) -> torch.Tensor:
        return self.latents.to(sample.device)
