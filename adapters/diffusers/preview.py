"""A batch of previews: its heads at high resolution, its one tail at low resolution, and a tape for each."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import torch

from ...commutator import Plan, Stay, Tape, Trajectory, Transport, shown
from ..errors import Interrupted, UnsupportedError
from ..sheet import Cost, Preview
from .autoencoder import Autoencoder, reduced
from .caches import Kept, described, size
from .families import Settings
from .finish import prompt_hash, tapes_as_batch
from .head import HeadLoop, ShowLoop, for_head
from .layout import Layout, probed_layout, size_of
from .noise import FreshNoise
from .request import Request
from .run import Gate, run
from .schedulers import MINIMUM_STEPS, Binding, Timetable, binding_of
from .stage import Course, Schedules, StageLoop, stage_call


@dataclass(frozen=True)
class _Run:
    """Where some of the request's images stand, together: the run from the noise, or what a stage has left.

    Attributes:
        indices: of the images. heads: their runs from the noise. trajectory: spatial, at the present resolution.
        noises: what the solver drew in each step, at high resolution, spatial. moves: the transports so far.
        generators: of each head, as the run has left them. switch: the step that the trajectory stands at. grid: the
            high-resolution schedule of all stages.
        gates: of the stages so far, at high and at low resolution, each with the number of images that shared it.
        evaluated: guided low-resolution evaluations so far.
    """

    indices: Sequence[int]
    heads: Sequence[HeadLoop]
    trajectory: Trajectory
    noises: Sequence[torch.Tensor | None]
    generators: Sequence[Any]
    switch: int
    grid: Timetable
    moves: tuple[Transport | Stay, ...] = ()
    high: tuple[Gate, ...] = ()
    low: tuple[tuple[Gate, int], ...] = ()
    evaluated: int = 0


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
    autoencoders: dict[Fraction, Autoencoder] = field(default_factory=dict)

    def previews(self, indices: Sequence[int]) -> list[Preview]:
        """The previews of some of the request's images, their low-resolution stages evaluated together.

        Raises Interrupted when a callback stopped the pipeline before they were ready.
        """
        began = time.perf_counter()
        binding = binding_of(self.pipe.scheduler)
        schedules = self._schedules(binding)
        self.check()
        count, per_call = len(indices), self.head_batch_size
        runs, caches = [], {}
        for at in range(0, count, per_call):
            part = indices[at : at + per_call]
            loop, generator = self._head(part, binding, schedules)
            caches[part[0]] = self._kept(loop)
            runs.append(self._high_stages(self._begun(part, loop, generator, schedules), schedules))
        done: dict[int, tuple[Any, _Run]] = {}
        # High-resolution stages run in the heads' batches, the last one too.
        alone = bool(self.plan.later) and self.plan.scale == 1
        for together in [[r] for r in runs] if alone else _by_switch(runs):
            images, run_of = self._low_stages(_joined(together), schedules)
            done |= {i: (image, run_of) for i, image in zip(run_of.indices, images)}

        evaluations = binding.evaluations(self.request.steps)
        seconds = (time.perf_counter() - began) / count
        return [
            Preview(
                index,
                self.request.seeds[index],
                done[index][0],
                self._tape(index, made.heads[0].recorded, b, evaluations),
                self.request.batch([index]),
                self._cost(index, made, done[index][1], evaluations, seconds),
                self.plan,
                caches[made.indices[0]],
            )
            for made in runs
            for b, index in enumerate(made.indices)
        ]

    def check(self) -> None:
        """UnsupportedError, before anything is evaluated, where an operator needs what the pipeline has not."""
        for i in self.plan.later:
            self._signal(i)

    def _size(self, scale: Fraction) -> tuple[int, int]:
        """(height, width) in pixels of a stage of this scale."""
        return int(self.request.height / scale), int(self.request.width / scale)

    def _schedules(self, binding: Binding) -> Schedules:
        plan, made = self.plan, []
        for i in plan.later:
            before, here = (self._layout(*self._size(s)) for s in (plan.scale_before(i), plan.stages[i].scale))
            made.append(_transport(plan, i, before, here, binding))
        return Schedules(plan, binding, tuple(made))

    def _head(self, indices: Sequence[int], binding: Binding, schedules: Schedules) -> tuple[HeadLoop, Any]:
        """The run from the noise, and the generators as it left them."""
        generator = self.request.generators(indices)
        call = self.request.batch(indices, generator=generator, output_type="latent")
        known = None
        if self.plan.own_schedule:
            call["num_inference_steps"] = self.plan.steps
        elif self.known is not None:
            outputs, noise, _, _ = tapes_as_batch([self.known[i].tape for i in indices])
            if outputs:  # those of a schedule of its own are not there, and its noise has a scale of its own
                known = outputs, noise
        loop = HeadLoop(self.plan, binding, schedules.check, known)
        call |= for_head(self.request.call)
        run(self.pipe, self.request.family.denoiser, call, loop, memo=self.memo)
        if loop.head is None:
            raise Interrupted
        return loop, generator

    def _begun(self, indices: Sequence[int], loop: HeadLoop, generator: Any, schedules: Schedules) -> _Run:
        layout, head = self._layout(self.request.height, self.request.width), loop.recorded
        trajectory, switch = collated([head], layout), self.plan.first_run.steps
        if self.plan.early_switch is not None:
            switch = head.switch  # such samplers evaluate once a step
        grid = schedules.grid(loop.timetable, switch)
        if grid is not loop.timetable:
            trajectory = trajectory.on(grid.times[head.switch :])
        noises = [None if n is None else layout.spatial(n) for n in loop.noises]
        return _Run(indices, [loop], trajectory, noises, [generator], switch, grid)

    def _high_stages(self, made: _Run, schedules: Schedules) -> _Run:
        """The stages of scale 1, some images at a time; a last one is left to `_low_stages`, which decodes."""
        for i in self.plan.later:
            if self.plan.stages[i].scale == 1 and i < len(self.plan.stages) - 1:
                made, _ = self._staged(i, made, schedules)
        return made

    def _low_stages(self, made: _Run, schedules: Schedules) -> tuple[Sequence[Any], _Run]:
        """The rest of the plan, and the decoded previews."""
        if not self.plan.later:
            return self._shown(made), made
        images: Any = None
        for i in self.plan.later:
            if self.plan.stages[i].scale > 1 or i == len(self.plan.stages) - 1:
                made, images = self._staged(i, made, schedules)
        return images, made

    def _staged(self, i: int, made: _Run, schedules: Schedules) -> tuple[_Run, Any]:
        """Stage `i` for some images together: where they stand after it, and after the last one their images."""
        stage = self.plan.stages[i]
        high, here = self._layout(self.request.height, self.request.width), self._layout(*self._size(stage.scale))
        dtype = made.heads[0].recorded.state.dtype
        course = Course.of_stage(schedules, i, made.trajectory, made.grid, made.switch, self._signal(i))
        fresh = FreshNoise(made.noises, high.packed, high.spatial, made.generators)
        tail = StageLoop(course, made.trajectory, here, dtype, fresh, made.moves)
        images = self._run_stage(made.indices, tail, *self._size(stage.scale))
        after = dataclasses.replace(
            made,
            trajectory=made.trajectory if tail.trajectory is None else tail.trajectory,
            noises=[*made.noises, *tail.drawn],
            switch=made.switch + (stage.steps or 0),
            moves=(*made.moves, tail.move),
        )
        if stage.scale == 1:
            return dataclasses.replace(after, high=(*made.high, tail.gate)), images
        low = (*made.low, (tail.gate, len(made.indices)))
        return dataclasses.replace(after, low=low, evaluated=made.evaluated + tail.evaluated), images

    def _signal(self, i: int) -> Callable[[torch.Tensor], torch.Tensor] | None:
        """What carries the denoised prediction to stage `i`, where its operator does not carry states."""
        stage, before = self.plan.stages[i], self.plan.scale_before(i)
        if stage.operator != "pixels":
            return None
        autoencoder, size = self._autoencoder(before), self._size(stage.scale)
        return lambda denoised: autoencoder.encoded(reduced(autoencoder.decoded(denoised), *size))

    def _autoencoder(self, scale: Fraction) -> Autoencoder:
        """The pipeline's autoencoder at the resolution of a stage."""
        if scale not in self.autoencoders:
            height, width = self._size(scale)
            settings, first = self._settings(height, width), 0

            def batch(count: int) -> dict[str, Any]:
                images = [first] * count
                generator = self.request.generators(images)
                return {**self.request.batch(images, height=height, width=width, generator=generator), **settings.call}

            self.autoencoders[scale] = Autoencoder.of(
                self.pipe,
                self.request.family.denoiser,
                batch,
                settings.attributes,
                self._layout(height, width),
                self.memo,
            )
        return self.autoencoders[scale]

    def _shown(self, made: _Run) -> Any:
        layout = self._layout(self.request.height, self.request.width)
        latents = shown(binding_of(self.pipe.scheduler).path, made.trajectory)
        loop = ShowLoop(layout.solver(latents, made.heads[0].recorded.state.dtype))
        call = self.request.batch(made.indices, generator=self.request.generators(made.indices))
        call |= {"num_inference_steps": MINIMUM_STEPS, "callback_on_step_end": None}
        if "sigmas" in call:
            call["sigmas"] = None
        out, _ = run(self.pipe, self.request.family.denoiser, call, loop, memo=self.memo)
        return out[0]

    def _cost(self, index: int, made: _Run, whole: _Run, evaluations: int, seconds: float) -> Cost:
        """One preview's equal share of what its calls cost; `evaluations` are those of a plain run."""
        loop, count = made.heads[0], len(made.indices)
        highs = [loop.gate, *made.high]
        late = [(gate, len(whole.indices)) for gate in whole.high[len(made.high) :]]  # a last stage of scale 1
        if self.known is not None:
            full = self.known[index].cost.full
        else:
            # Rows per guided evaluation, read off whichever resolution was evaluated.
            evaluated, rows = loop.evaluated, loop.gate.rows / count
            if not evaluated:
                evaluated, rows = whole.evaluated, sum(gate.rows / n for gate, n in whole.low)
            full = round(evaluations * rows / evaluated) if evaluated else 0
        return Cost(
            high=round(sum(g.rows for g in highs) / count + sum(g.rows / n for g, n in late)),
            low=round(sum(g.rows / n for g, n in whole.low)),
            full=full,
            high_seconds=sum(g.seconds for g in highs) / count + sum(g.seconds / n for g, n in late),
            low_seconds=sum(g.seconds / n for g, n in whole.low),
            seconds=seconds,
        )

    def _kept(self, loop: HeadLoop) -> Kept | None:
        """What the cache remembers after a head, where a finish can use it and there is room."""
        memory, loop.memory = loop.memory, []
        if not memory or not loop.recorded.outputs or self.plan.own_schedule:
            return None
        room = self.cache_bytes - size(memory)
        if room < 0:
            return None
        self.cache_bytes = room
        return Kept.of(memory)

    def _run_stage(self, indices: Sequence[int], loop: StageLoop, height: int, width: int) -> Any:
        call = self.request.batch(indices, height=height, width=width, generator=self.request.generators(indices))
        settings = self._settings(height, width)
        return stage_call(
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

    def _tape(self, index: int, head: Trajectory, b: int, evaluations: int) -> Tape:
        request, plan = self.request, self.plan
        # A plan without a head runs on a schedule of its own: its answers are of no use to the final.
        outputs = () if plan.own_schedule else tuple(o[b : b + 1].cpu() for o in head.outputs)
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


def _by_switch(runs: Sequence[_Run]) -> list[list[_Run]]:
    """Runs whose stages can share a call: those that stand at the same step."""
    groups: dict[int, list[_Run]] = {}
    for made in runs:
        groups.setdefault(made.switch, []).append(made)
    return list(groups.values())


def _joined(runs: Sequence[_Run]) -> _Run:
    """Runs that stand at the same step, as one. The gates of their high-resolution stages stay with each of them."""
    first, trajectories = runs[0], [r.trajectory for r in runs]
    states, outputs = (
        tuple(torch.cat(parts) for parts in zip(*(getattr(t, name) for t in trajectories)))
        for name in ("states", "outputs")
    )
    now = first.trajectory
    return dataclasses.replace(
        first,
        indices=[i for r in runs for i in r.indices],
        heads=[h for r in runs for h in r.heads],
        trajectory=Trajectory(now.times, now.switch, states, outputs, torch.cat([t.state for t in trajectories])),
        noises=[
            None if any(n is None for n in drawn) else torch.cat([n for n in drawn if n is not None])
            for drawn in zip(*(r.noises for r in runs))
        ],
        generators=[g for r in runs for g in r.generators],
    )


def _transport(plan: Plan, i: int, before: Layout, here: Layout, binding: Binding) -> Transport | Stay:
    """How stage `i` is entered. UnsupportedError where its operator makes no latents of the pipeline's own size."""
    candidates = plan.stages[i].candidates(plan.scale_before(i))
    if not candidates:
        return Stay()
    operator, shape = candidates[0], (1, *before.grid)
    made = tuple(operator.out_shape(shape))[1:]
    if made != here.grid:
        raise UnsupportedError(
            f"{operator!r} maps latents {before.grid} to {made}, the pipeline makes {here.grid} at the low resolution"
        )
    return Transport.of(operator, binding.path, shape, plan.stages[i].time)


def collated(heads: Sequence[Trajectory], layout: Layout) -> Trajectory:
    """Heads recorded in the solver's layout as one batch of spatial arrays."""

    def joined(parts: Sequence[torch.Tensor]) -> torch.Tensor:
        return layout.spatial(torch.cat(list(parts)))

    first = heads[0]
    states = tuple(joined([h.states[i] for h in heads]) for i in range(len(first.states)))
    outputs = tuple(joined([h.outputs[i] for h in heads]) for i in range(len(first.outputs)))
    return Trajectory(first.times, first.switch, states, outputs, joined([h.state for h in heads]))
