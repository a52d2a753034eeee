"""A batch of previews: its heads at high resolution, its one tail at low resolution, and a tape for each."""

from __future__ import annotations

import dataclasses
import inspect
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from ...commutator import Head, Plan, Tape, Transport, shown
from ..sheet import Cost, Preview
from .cache_support import described
from .caches import Kept, size
from .call import run
from .callbacks import for_head
from .errors import InterruptedByUser, UnsupportedError
from .families import family_of
from .finishing import prompt_hash, tapes_as_batch
from .gate import Gate
from .layout import Layout, positions
from .loops import HeadLoop, ProbeLoop
from .noise import FreshNoise
from .quirks import Settings
from .request import Request
from .schedulers import MINIMUM_STEPS, Binding, binding_of
from .showing import ShowLoop
from .tail_call import run_tail
from .tail_loop import Course, TailLoop


@dataclass(frozen=True)
class _Head:
    """A recorded head of some of the request's images, with their generators as it left them."""

    indices: Sequence[int]
    loop: HeadLoop
    generator: Any


@dataclass(frozen=True)
class _Low:
    """Decoded previews of one call, its gate, and its guided low-resolution evaluations."""

    images: Sequence[Any]
    gate: Gate
    evaluations: int


@dataclass
class Maker:
    """Makes the previews of one request.

    Attributes:
        layouts: found layouts by `size_of` their call; may be shared between requests to the same pipeline.
        model: the pipeline's fingerprint, for the tapes. memo: encoded prompts, shared by all calls of the request.
        cache_bytes: how much host memory is left for what the transformer's cache remembers of the heads.
        known: earlier previews of the same images, whose recorded evaluations are not made again.
    """

    pipe: Any
    request: Request
    plan: Plan
    model: str
    head_batch_size: int
    layouts: dict[tuple[int, ...], Layout]
    cache_bytes: int = 0
    memo: dict[Any, Any] = field(default_factory=dict)
    known: Sequence[Preview] | None = None

    def previews(self, indices: Sequence[int]) -> list[Preview]:
        """The previews of some of the request's images, their tails evaluated together.

        Raises InterruptedByUser when a callback stopped the pipeline before they were ready.
        """
        began = time.perf_counter()
        binding = binding_of(self.pipe.scheduler)
        gain = self._gain(binding)
        count, per_call = len(indices), self.head_batch_size
        parts = [indices[at : at + per_call] for at in range(0, count, per_call)]
        heads = [self._head(part, binding, gain) for part in parts]
        caches = [self._kept(made.loop) for made in heads]
        images: dict[int, Any] = {}
        lows: dict[int, _Low] = {}
        for together in _by_switch(heads):
            of_these = [i for made in together for i in made.indices]
            low = self._low(of_these, together, binding, gain)
            images |= dict(zip(of_these, low.images))
            lows |= dict.fromkeys(of_these, low)

        evaluations = binding.evaluations(self.request.steps)
        seconds = (time.perf_counter() - began) / count
        return [
            Preview(
                index,
                self.request.seeds[index],
                images[index],
                self._tape(index, made.loop.recorded, b, evaluations),
                self.request.batch([index]),
                self._cost(index, made, lows[index], evaluations, seconds),
                self.plan,
                cache,
            )
            for made, cache in zip(heads, caches)
            for b, index in enumerate(made.indices)
        ]

    @property
    def _low_size(self) -> tuple[int, int]:
        """(height, width) of the previews in pixels."""
        return int(self.request.height / self.plan.scale), int(self.request.width / self.plan.scale)

    def _gain(self, binding: Binding) -> float:
        high, low = self._layout(self.request.height, self.request.width), self._layout(*self._low_size)
        return _fitting_gain(self.plan, high, low, binding)

    def _head(self, indices: Sequence[int], binding: Binding, gain: float) -> _Head:
        generator = self.request.generators(indices)
        call = self.request.batch(indices, generator=generator, output_type="latent")
        known = None
        if self.plan.head_steps is not None:
            call["num_inference_steps"] = self.plan.head_steps
        elif self.known is not None:
            outputs, noise, _, _ = tapes_as_batch([self.known[i].tape for i in indices])
            if outputs:  # those of a coarse head are not there, and its noise has a scale of its own
                known = outputs[: self.plan.high_evaluations], noise
        loop = HeadLoop(self.plan, binding, gain, known)
        call |= for_head(self.request.call)
        run(self.pipe, self.request.family.denoiser, call, loop, memo=self.memo)
        if loop.head is None:
            raise InterruptedByUser
        return _Head(indices, loop, generator)

    def _low(self, indices: Sequence[int], heads: Sequence[_Head], binding: Binding, gain: float) -> _Low:
        """The decoded previews of heads with one switch."""
        high = self._layout(self.request.height, self.request.width)
        loops = [made.loop for made in heads]
        joined, dtype = collated([loop.recorded for loop in loops], high), loops[0].recorded.state.dtype
        if self.plan.tail == 0:
            show = ShowLoop(high.solver(shown(binding.path, joined), dtype))
            return _Low(self._shown(indices, show), show.gate, 0)
        low = self._layout(*self._low_size)
        fresh = FreshNoise(_collated_noise(loops, high), high.packed, high.spatial, [made.generator for made in heads])
        plan = self.plan
        if plan.settle is not None:  # the tail is that of a plan which switches where this head did
            plan = dataclasses.replace(plan, switch=joined.switch, settle=None)
        course = Course.of_plan(plan, joined, gain, binding, loops[0].timetable)
        tail = TailLoop(course, joined, low, dtype, fresh)
        return _Low(self._tail(indices, tail, *self._low_size), tail.gate, len(tail.evaluations))

    def _shown(self, indices: Sequence[int], loop: ShowLoop) -> Any:
        call = self.request.batch(indices, generator=self.request.generators(indices))
        call |= {"num_inference_steps": MINIMUM_STEPS, "callback_on_step_end": None}
        if "sigmas" in call:
            call["sigmas"] = None
        out, _ = run(self.pipe, self.request.family.denoiser, call, loop, memo=self.memo)
        return out[0]

    def _cost(self, index: int, made: _Head, low: _Low, evaluations: int, seconds: float) -> Cost:
        """One preview's equal share of what its calls cost; `evaluations` are those of a plain run."""
        count, together, gate = len(made.indices), len(low.images), made.loop.gate
        if self.known is not None:
            full = self.known[index].cost.full
        else:
            # Rows per guided evaluation, read off whichever resolution was evaluated.
            evaluated = made.loop.evaluated
            rows = gate.rows / evaluated / count if evaluated else low.gate.rows / low.evaluations / together
            full = round(evaluations * rows)
        return Cost(
            high=round(gate.rows / count),
            low=round(low.gate.rows / together),
            full=full,
            high_seconds=gate.seconds / count,
            low_seconds=low.gate.seconds / together,
            seconds=seconds,
        )

    def _kept(self, loop: HeadLoop) -> Kept | None:
        """What the cache remembers after a head, where a finish can use it and there is room."""
        memory, loop.memory = loop.memory, []
        if not memory or not loop.recorded.outputs or self.plan.head_steps is not None:
            return None
        room = self.cache_bytes - size(memory)
        if room < 0:
            return None
        self.cache_bytes = room
        return Kept.of(memory)

    def _tail(self, indices: Sequence[int], loop: TailLoop, height: int, width: int) -> Any:
        call = self.request.batch(indices, height=height, width=width, generator=self.request.generators(indices))
        settings = self._settings(height, width)
        return run_tail(
            self.pipe,
            self.request.family.denoiser,
            {**call, **settings.call},
            loop,
            memo=self.memo,
            attributes=settings.attributes,
        )

    def _settings(self, height: int, width: int) -> Settings:
        """What the pipeline needs at the low resolution; at the user's own, the call is the user's."""
        if (height, width) == (self.request.height, self.request.width):
            return Settings()
        return self.request.family.low(self.pipe, self.request.batch([0]), height, width)

    def _layout(self, height: int, width: int) -> Layout:
        call = self.request.batch([0], height=height, width=width)
        key = size_of(call)
        if key not in self.layouts:
            settings = self._settings(height, width)
            self.layouts[key] = probed_layout(self.pipe, {**call, **settings.call}, self.memo, settings.attributes)
        return self.layouts[key]

    def _tape(self, index: int, head: Head, b: int, evaluations: int) -> Tape:
        request, plan = self.request, self.plan
        # A coarse head runs on a schedule of its own: its answers are of no use to the final.
        outputs = () if plan.head_steps is not None else tuple(o[b : b + 1].cpu() for o in head.outputs)
        header = {
            "model": self.model,
            "prompt": prompt_hash(request.batch([index])),
            "seed": request.seeds[index],
            "size": [request.height, request.width],
            "steps": request.steps,
            "evaluations": evaluations,
            "switch": head.switch,
            "scheduler": type(self.pipe.scheduler).__name__,
            "rng_device": request.rng_device,
            "plan": plan.to_dict(),
        }
        cache = described(getattr(self.pipe, request.family.denoiser))
        if cache is not None:
            header["cache"] = cache
        noise, state = head.noise[b : b + 1].cpu(), head.state[b : b + 1].cpu()
        return Tape(outputs, noise, state, head.times, header, request.rng[index])


def size_of(call: Mapping[str, Any]) -> tuple[int, ...]:
    """What a layout depends on, of a call: height, width, and the number of frames where one is given."""
    frames = (call["num_frames"],) if "num_frames" in call else ()
    return (call["height"], call["width"], *frames)


def probed_layout(
    pipe: Any,
    call: Mapping[str, Any],
    memo: dict[Any, Any] | None = None,
    attributes: Mapping[str, Any] | None = None,
) -> Layout:
    """How the pipeline arranges the latents of `call` (one image). UnsupportedError where that cannot be told.

    Also where the pipeline makes another size than it is asked for, or more pixels to a cell than its family says:
    operators would act on a grid that is not the image's.
    """
    family, loop, name = family_of(pipe), ProbeLoop(), type(pipe).__name__
    plain = {**call, "output_type": "latent", "callback_on_step_end": None}
    _, drawn = run(pipe, family.denoiser, plain, loop, memo=memo, noise=positions, attributes=attributes)
    if loop.sample is None or drawn is None or drawn.shape is None:
        raise UnsupportedError(f"{name} draws no noise that previews could follow")
    layout = Layout.probed(drawn.shape, loop.sample, name, family.noise)
    cell = family.cell_size(pipe)
    height, width = (side * cell for side in layout.grid[-2:])
    if (height, width) != (call["height"], call["width"]):
        raise UnsupportedError(
            f"{name} makes {width}x{height} pixels (width x height) where {call['width']}x{call['height']} is asked "
            f"for; give a size that it keeps{_unresized(pipe)}"
        )
    return layout


def _unresized(pipe: Any) -> str:
    """How the pipeline's resizing is switched off, where it can be."""
    ways = {"use_resolution_binning": "use_resolution_binning=False", "max_area": "max_area=height*width"}
    found = [way for name, way in ways.items() if name in inspect.signature(type(pipe).__call__).parameters]
    return f", or switch its resizing off ({', '.join(found)})" if found else ""


def _by_switch(heads: Sequence[_Head]) -> list[list[_Head]]:
    """Heads whose tails can share a call: those that ended at the same step."""
    groups: dict[int, list[_Head]] = {}
    for made in heads:
        groups.setdefault(made.loop.recorded.switch, []).append(made)
    return list(groups.values())


def _fitting_gain(plan: Plan, high: Layout, low: Layout, binding: Binding) -> float:
    operator = plan.operators()[0]
    shape = (1, *high.grid)
    made = tuple(operator.out_shape(shape))[1:]
    if made != low.grid:
        raise UnsupportedError(
            f"{operator!r} maps latents {high.grid} to {made}, the pipeline makes {low.grid} at the low resolution"
        )
    return Transport.of(operator, binding.path, shape, plan.time).gain


def collated(heads: Sequence[Head], layout: Layout) -> Head:
    """Heads recorded in the solver's layout as one batch of spatial arrays."""

    def joined(parts: Sequence[torch.Tensor]) -> torch.Tensor:
        return layout.spatial(torch.cat(list(parts)))

    first = heads[0]
    states = tuple(joined([h.states[i] for h in heads]) for i in range(len(first.states)))
    outputs = tuple(joined([h.outputs[i] for h in heads]) for i in range(len(first.outputs)))
    return Head(first.times, first.switch, states, outputs, joined([h.state for h in heads]))


def _collated_noise(loops: Sequence[HeadLoop], layout: Layout) -> list[torch.Tensor | None]:
    """What the solver drew in each step of the heads, as one batch of spatial arrays."""
    return [
        None if any(n is None for n in drawn) else layout.spatial(torch.cat([n for n in drawn if n is not None]))
        for drawn in zip(*(loop.noises for loop in loops))
    ]
