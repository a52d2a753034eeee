"""Finals from tapes: checking that a tape belongs to the run it is to continue, and continuing it."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from ...commutator import Tape, TapeError, Trajectory
from ...commutator.steps import require_switch
from ..errors import Interrupted
from ..sheet import Cost, Final, Preview
from .caches import Kept, described
from .request import restored_all
from .run import Loop, Step, Stop, run
from .schedulers import Binding, Timetable

HEADER = {"model": str, "prompt": str, "size": list, "steps": int, "evaluations": int, "switch": int, "rng_device": str}
MOST = 1_000_000  # of steps and evaluations in a tape, which may come from elsewhere
DEVICES = ("cpu", "cuda", "mps", "xpu")


class FinishLoop(Loop):
    """The plain run, answered from the tape for as long as the tape lasts.

    `cache` is what a transformer's cache remembered when the tape ended: the first evaluation after it needs that. With
    `afresh` the tape answers nothing: the head is evaluated again, which brings the cache there too, and only checked.

    A `coarse` head ran on fewer steps: its noise is the run's up to the scale with which the scheduler starts.

    Raises TapeError when the run does not start from the recorded noise or does not arrive at the recorded state:
    then the tape is of another seed, size, schedule or callback, and nothing may be continued from it.
    """

    def __init__(
        self,
        outputs: Sequence[torch.Tensor],
        noise: torch.Tensor,
        state: torch.Tensor,
        switch: int,
        *,
        cache: Kept | None = None,
        afresh: bool = False,
        coarse: bool = False,
    ) -> None:
        super().__init__()
        self.coarse = coarse
        self.outputs, self.noise, self.state, self.switch = outputs, noise, state, switch
        self.answered = 0 if afresh else len(outputs)
        self.latents: torch.Tensor | None = None  # after the last step so far, in the solver's layout
        self.index = 0
        self.gate.skip = self.answered > 0
        self._cache = cache

    def step(self, real: Step, output: torch.Tensor, timestep: Any, sample: torch.Tensor) -> torch.Tensor:
        self.check(sample)
        if self.index < self.answered:
            output = self.outputs[self.index].to(output.device)
        self.index += 1
        self.gate.skip = self.index < self.answered
        if self.index == self.answered and self._cache is not None:
            self.caches.resume(self._cache)
        self.latents = real(output, timestep, sample)
        return self.latents

    def check(self, sample: torch.Tensor) -> None:
        """TapeError unless the run is where the tape says it was."""
        if self.index == 0:
            noise = rescaled(self.noise, sample) if self.coarse else self.noise
            same_tensor(sample, noise, "the initial noise")
        if self.index == self.switch and self.outputs:
            same_tensor(sample, self.state, "the state at the switch")


def rescaled(noise: torch.Tensor, sample: torch.Tensor) -> torch.Tensor:
    """`sample` where it is a multiple of `noise`, up to the rounding of its dtype, and `noise` where it is none."""
    if noise.dtype != sample.dtype or noise.shape != sample.shape:
        return noise
    x, y = noise.to(sample.device, torch.float64), sample.to(torch.float64)
    off = (y - (x * y).sum() / (x * x).sum() * x).abs().max()
    return sample if bool(off <= 4 * torch.finfo(sample.dtype).eps * y.abs().max()) else noise


def same_tensor(sample: torch.Tensor, recorded: torch.Tensor, what: str) -> None:
    """TapeError unless the run's tensor is the recorded one, bit for bit."""
    if sample.dtype != recorded.dtype or not torch.equal(sample, recorded.to(sample.device)):
        raise TapeError(f"{what} differs from the tape: it was recorded with other settings, or by another version")


class RetraceLoop(FinishLoop):
    """The plain run to evaluation `until`, recorded again: from the tape where it can be, computed where it cannot.

    `reference` also records the answer at `until`. Raises TapeError as `FinishLoop` does, ValueError where the run has
    no step left after `until`.
    """

    def __init__(
        self,
        outputs: Sequence[torch.Tensor],
        noise: torch.Tensor,
        state: torch.Tensor,
        switch: int,
        *,
        until: int,
        reference: bool,
        binding: Binding,
        cache: Kept | None = None,
        afresh: bool = False,
        coarse: bool = False,
    ) -> None:
        super().__init__(outputs, noise, state, switch, cache=cache, afresh=afresh, coarse=coarse)
        self.until, self.reference, self.binding = until, reference, binding
        self.states: list[torch.Tensor] = []
        self.answers: list[torch.Tensor] = []
        self.timetable: Timetable | None = None
        self.head: Trajectory | None = None
        self._skip()

    def scheduled(self, scheduler: Any) -> None:
        self.timetable = self.binding.read(scheduler)
        require_switch(self.timetable.times, self.until)

    def step(self, real: Step, output: torch.Tensor, timestep: Any, sample: torch.Tensor) -> torch.Tensor:
        index = self.index
        answer = self.outputs[index].to(output.device) if index < self.answered else output
        if index == self.until:
            # The checks of the start and the switch, which a step would have made.
            self.check(sample)
            answers = [*self.answers, answer] if self.reference else self.answers
            assert self.timetable is not None
            self.head = Trajectory(self.timetable.times, index, tuple(self.states), tuple(answers), sample)
            raise Stop
        self.states.append(sample)
        self.answers.append(answer)
        following = super().step(real, output, timestep, sample)
        self._skip()
        return following

    def _skip(self) -> None:
        self.gate.skip |= self.index == self.until and not self.reference


def check_tape(preview: Preview, model: str, denoiser: Any) -> None:
    """TapeError unless the tape is whole and of this model (its fingerprint), cache, prompt, settings and size."""
    tape, header = preview.tape, preview.tape.header
    for key, kind in HEADER.items():
        if type(header.get(key)) is not kind:
            raise TapeError(f"the tape's header has no valid {key!r}")
    if not all(least <= header[key] <= MOST for key, least in {"steps": 1, "evaluations": 1, "switch": 0}.items()):
        raise TapeError("the tape's header has numbers of steps and evaluations that no run has")
    if [type(n) for n in header["size"]] != [int, int]:
        raise TapeError("the tape's header has no valid 'size'")
    if header["rng_device"] not in DEVICES:
        raise TapeError(f"the tape's generator lived on {header['rng_device']!r}, which is no kind of device")
    # A coarse head leaves no outputs; any other leaves one per step before the switch, and maybe the switch's own.
    if tape.recorded not in (0, header["switch"], header["switch"] + 1) or tape.recorded > header["evaluations"]:
        raise TapeError(f"the tape holds {tape.recorded} outputs for a switch at step {header['switch']}")
    if header["model"] != model:
        raise TapeError(
            "the tape was recorded with another model, or with other settings of it (weights, adapters and their "
            "scales, FreeU, attention processors, configuration, hooks, training mode, dtype or kind of device); load "
            "the model that made the sheet and set it up as it was. Release 0.1 knew models by less: previews that it "
            "made are made again"
        )
    cache = described(denoiser)
    if header.get("cache") != cache:
        raise TapeError(
            f"the tape was recorded with {_cache(header.get('cache'))}, the transformer has {_cache(cache)}; set it as "
            "it was, with enable_cache() and disable_cache()"
        )
    if header["prompt"] != prompt_hash(preview.call):
        raise TapeError("the tape belongs to another prompt or to other settings than the preview says")
    if header["size"] != [preview.call.get("height"), preview.call.get("width")]:
        raise TapeError("the tape was recorded at another size than the preview says")
    if tape.rng is None:
        raise TapeError("the tape holds no generator state: it cannot be finished")


def finish_batch(pipe: Any, denoiser: str, previews: Sequence[Preview], output_type: str | None) -> list[Final]:
    """The finals of some previews in one plain call, the recorded evaluations skipped.

    Raises ValueError for previews that cannot share a call; Interrupted where a callback stopped the run; TapeError as
    `FinishLoop` does.
    """
    began = time.perf_counter()
    tapes = [p.tape for p in previews]
    first, count = tapes[0], len(tapes)
    loop = FinishLoop(*tapes_as_batch(tapes), **remembered(previews))
    call = merged([p.call for p in previews])
    call["generator"] = generators_of(tapes)
    if output_type is not None:
        call["output_type"] = output_type
    out, _ = run(pipe, denoiser, call, loop)
    evaluations = first.header["evaluations"]
    if loop.index < evaluations or loop.latents is None:
        raise Interrupted("the callback stopped the run before the final was ready")
    cost = Cost(
        high=round(loop.gate.rows / count),
        low=0,
        full=round(loop.gate.rows / count * evaluations / max(1, evaluations - loop.answered)),
        high_seconds=loop.gate.seconds / count,
        seconds=(time.perf_counter() - began) / count,
    )
    return [Final(image, cost, latents) for image, latents in zip(out[0], loop.latents)]


def remembered(previews: Sequence[Preview]) -> dict[str, Any]:
    """What a `FinishLoop` needs to know of the head and of a cache: one preview only where there is one."""
    tape, coarse = previews[0].tape, previews[0].plan.own_schedule
    if tape.header.get("cache") is None:
        return {"coarse": coarse}
    return {"coarse": coarse, "cache": previews[0].cache, "afresh": previews[0].cache is None}


def prompt_hash(call: Mapping[str, Any]) -> str:
    """SHA-256 over everything a plain call gets that decides its image, size and generator aside.

    Tensors and functions count by type only: they do not outlive the process whose tape this is.
    """
    other = ("height", "width", "generator", "output_type")
    plain = {k: v for k, v in call.items() if k not in other and not k.startswith("callback_on_step_end")}
    return hashlib.sha256(json.dumps(plain, sort_keys=True, default=lambda v: type(v).__name__).encode()).hexdigest()


def generators_of(tapes: Sequence[Tape]) -> Any:
    """Fresh generators in the states that the tapes recorded, all on one kind of device."""
    return restored_all([t.rng for t in tapes if t.rng is not None], tapes[0].header["rng_device"])


def tapes_as_batch(tapes: Sequence[Tape]) -> tuple[list[torch.Tensor], torch.Tensor, torch.Tensor, int]:
    """(outputs, noise, state at the switch, switch) of tapes of one size and length; ValueError for others."""
    first = tapes[0]
    if any(t.recorded != first.recorded or t.header["size"] != first.header["size"] for t in tapes):
        raise ValueError("previews finished in one batch need tapes of one size and length; use batch_size=1")
    outputs = [torch.cat([t.outputs[i] for t in tapes]) for i in range(first.recorded)]
    noise, state = torch.cat([t.noise for t in tapes]), torch.cat([t.state for t in tapes])
    return outputs, noise, state, first.header["switch"]


def _cache(description: Any) -> str:
    return "no cache" if description is None else f"the cache {description}"


def merged(calls: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """One batched call from single ones that differ in nothing but the prompt."""
    out = dict(calls[0])
    if len(calls) == 1:
        return out
    for key in out:
        values = [c.get(key) for c in calls]
        if isinstance(out[key], str) and key.startswith(("prompt", "negative_prompt")):
            out[key] = values
        elif isinstance(out[key], torch.Tensor):
            out[key] = torch.cat([c[key] for c in calls])
        elif any(v is not values[0] and v != values[0] for v in values):
            raise ValueError(f"previews finished in one batch differ in {key!r}; use batch_size=1")
    return out
