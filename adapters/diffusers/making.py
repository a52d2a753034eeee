"""A batch of previews: its heads at high resolution, its one tail at low resolution, and a tape for each."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from ...commutator import Head, Plan, Tape, Transport
from ..sheet import Cost, Preview
from .cache_support import described
from .caches import Kept, size
from .call import run
from .callbacks import for_head
from .errors import InterruptedByUser, UnsupportedError
from .families import family_of
from .finishing import prompt_hash
from .layout import Layout, positions
from .loops import HeadLoop, ProbeLoop
from .noise import FreshNoise
from .quirks import Settings
from .request import Request
from .schedulers import Binding, binding_of
from .tail_call import run_tail
from .tail_loop import Course, TailLoop


@dataclass
class Maker:
    """Makes the previews of one request.

    Attributes:
        layouts: found layouts by `size_of` their call; may be shared between requests to the same pipeline.
        model: the pipeline's fingerprint, for the tapes. memo: encoded prompts, shared by all calls of the request.
        cache_bytes: how much host memory is left for what the transformer's cache remembers of the heads.
    """

    pipe: Any
    request: Request
    plan: Plan
    model: str
    head_batch_size: int
    layouts: dict[tuple[int, ...], Layout]
    cache_bytes: int = 0
    memo: dict[Any, Any] = field(default_factory=dict)

    def previews(self, indices: Sequence[int]) -> list[Preview]:
        """The previews of some of the request's images, their tails evaluated together.

        Raises InterruptedByUser when a callback stopped the pipeline before they were ready.
        """
        began = time.perf_counter()
        request, plan = self.request, self.plan
        low_height, low_width = int(request.height / plan.scale), int(request.width / plan.scale)
        high, low = self._layout(request.height, request.width), self._layout(low_height, low_width)
        binding = binding_of(self.pipe.scheduler)
        gain = _fitting_gain(plan, high, low, binding)

        parts = [indices[at : at + self.head_batch_size] for at in range(0, len(indices), self.head_batch_size)]
        generators = [request.generators(part) for part in parts]
        loops = [self._head(part, g, binding, gain) for part, g in zip(parts, generators)]
        heads = [loop.recorded for loop in loops]
        caches = [self._kept(loop) for loop in loops]
        joined = collated(heads, high)
        fresh = FreshNoise(_collated_noise(loops, high), high.packed, high.spatial, generators)
        course = Course.of_plan(plan, joined, gain, binding, loops[0].timetable)
        tail = TailLoop(course, joined, low, heads[0].state.dtype, fresh)
        images = self._tail(indices, tail, low_height, low_width)

        evaluations = binding.evaluations(request.steps)
        cost = _cost(loops, tail, evaluations, len(indices), time.perf_counter() - began)
        alone = [(head, b) for head, part in zip(heads, parts) for b in range(len(part))]
        return [
            Preview(
                index,
                request.seeds[index],
                images[position],
                self._tape(index, *alone[position], evaluations),
                request.batch([index]),
                cost,
                plan,
                caches[position // self.head_batch_size],
            )
            for position, index in enumerate(indices)
        ]

    def _head(self, indices: Sequence[int], generator: Any, binding: Binding, gain: float) -> HeadLoop:
        loop = HeadLoop(self.plan, binding, gain)
        call = self.request.batch(indices, generator=generator, output_type="latent")
        if self.plan.head_steps is not None:
            call["num_inference_steps"] = self.plan.head_steps
        call |= for_head(self.request.call)
        run(self.pipe, self.request.family.denoiser, call, loop, memo=self.memo)
        if loop.head is None:
            raise InterruptedByUser
        return loop

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
            "for; give a size that it keeps, or switch its resizing off (use_resolution_binning=False, "
            "max_area=height*width)"
        )
    return layout


def _cost(loops: Sequence[HeadLoop], tail: TailLoop, evaluations: int, count: int, seconds: float) -> Cost:
    """One preview's equal share of what its batch cost; `evaluations` are those of a plain run."""
    high = sum(loop.gate.rows for loop in loops)
    # Rows per guided evaluation of all `count` images, read off whichever resolution was evaluated.
    rows = high / loops[0].plan.high_evaluations if high else tail.gate.rows / len(tail.evaluations)
    return Cost(
        high=round(high / count),
        low=round(tail.gate.rows / count),
        full=round(evaluations * rows / count),
        high_seconds=sum(loop.gate.seconds for loop in loops) / count,
        low_seconds=tail.gate.seconds / count,
        seconds=seconds / count,
    )


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
