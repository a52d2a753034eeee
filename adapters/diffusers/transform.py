"""Translated, turned and warped images: a recorded run retraced to a step, transformed there, and continued."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...commutator import Guidance, Transform, transform_guidance, transform_step
from ...operators import LinearOperator, ShapeError
from ..errors import Interrupted, UnsupportedError
from ..sheet import Cost, Final, Preview
from .finish import RetraceLoop, generators_of, merged, remembered, tapes_as_batch
from .layout import Layout
from .preview import collated
from .run import run
from .schedulers import Binding, binding_of, draws
from .stage import Course, StageLoop, stage_call


@dataclass(frozen=True)
class Move:
    """What `Previewer.transform` does to images.

    Attributes:
        operator: in pixels of the final image. at: the step D from which on the run is moved.
        guidance: corrections after it. seed: of the fresh noise, for what comes into view.
    """

    operator: LinearOperator
    at: int
    guidance: Guidance | None
    seed: int

    @classmethod
    def of(
        cls, operator: LinearOperator, steps: int, at: int | None, guidance: Guidance | str | None, seed: int
    ) -> Move:
        """A move of a run of `steps` steps, with defaults filled in. ValueError for an unknown guidance or seed."""
        if isinstance(guidance, str) and guidance != "default":
            raise ValueError(f"guidance must be a Guidance, None or 'default', got {guidance!r}")
        if seed < 0:
            raise ValueError(f"seed must not be negative, got {seed}")
        chosen = transform_guidance(steps) if isinstance(guidance, str) else guidance
        return cls(operator, transform_step(steps) if at is None else at, chosen, seed)

    def on(self, layout: Layout, header: Mapping[str, Any], binding: Binding) -> Transform:
        """The same on the latents of the run that a tape's header describes, counted in evaluations.

        Raises UnsupportedError where the operator has no counterpart there, changes the size, or has no noise partner.
        """
        (height, width), steps = header["size"], header["steps"]
        if not 0 <= self.at < steps:
            raise ValueError(f"at={self.at}: the step to move the image at must lie in 0..{steps - 1}")
        rows, columns = layout.grid[-2:]
        pixels = height // rows
        if rows * pixels != height or columns * pixels != width:
            raise UnsupportedError(f"latents of {rows}x{columns} cells do not tile an image of {height}x{width} pixels")
        try:
            # Images of the operator's own size only: a flow knows its size in pixels.
            made = self.operator.out_shape((height, width))
            operator = self.operator.on_cells(pixels)
            kept = operator.out_shape(layout.grid) == layout.grid and made == (height, width)
            operator.noise_partner()
        except (ShapeError, ValueError) as error:
            raise UnsupportedError(str(error)) from error
        if not kept:
            raise UnsupportedError(f"{self.operator!r} changes the size of the image; a transform keeps it")
        return Transform(operator, binding.evaluation(self.at), self.guidance, binding.evaluations_per_step)


def check_draws(scheduler: Any, call: Mapping[str, Any]) -> None:
    """UnsupportedError for a run whose solver draws fresh noise: a state would be no longer the first noise and signal.

    `Motion` moves noise by what a deterministic solver makes of the first state; noise that came later is not in it.
    """
    if draws(scheduler) or call.get("eta"):
        raise UnsupportedError(
            f"{type(scheduler).__name__} draws fresh noise in its steps, which cannot be told from the signal when an "
            "image is moved; use a deterministic scheduler (EulerDiscreteScheduler, DPMSolverMultistepScheduler)"
        )


def transform_batch(
    pipe: Any,
    denoiser: str,
    previews: Sequence[Preview],
    transform: Transform,
    seed: int,
    layout: Layout,
    memo: dict[Any, Any],
    output_type: str | None,
) -> list[Final]:
    """Some previews' images, transformed, in one batch; `memo` holds encoded prompts.

    Raises ValueError for previews that cannot share a call; TapeError as `RetraceLoop` does.
    """
    began = time.perf_counter()
    tapes = [p.tape for p in previews]
    call, count, header = merged([p.call for p in previews]), len(previews), tapes[0].header
    binding = binding_of(pipe.scheduler)

    retrace = RetraceLoop(
        *tapes_as_batch(tapes),
        until=transform.switch,
        reference=transform.needs_reference,
        binding=binding,
        **remembered(previews),
    )
    run(pipe, denoiser, call | {"generator": generators_of(tapes), "output_type": "latent"}, retrace, memo=memo)
    if retrace.head is None or retrace.timetable is None:
        raise Interrupted
    head = collated([retrace.head], layout)
    seeds = [seed if p.seed is None else _joined(seed, p.seed) for p in previews]
    course = Course.of_transform(transform, head, seeds, binding, retrace.timetable)
    tail = StageLoop(course, head, layout, retrace.head.state.dtype)
    call["generator"] = generators_of(tapes)
    if output_type is not None:
        call["output_type"] = output_type
    images = stage_call(pipe, denoiser, call, tail, memo=memo)

    high = round((retrace.gate.rows + tail.gate.rows) / count)
    per_evaluation = tail.gate.rows / tail.evaluated / count
    seconds = (retrace.gate.seconds + tail.gate.seconds) / count
    cost = Cost(
        high, 0, round(header["evaluations"] * per_evaluation), seconds, 0.0, (time.perf_counter() - began) / count
    )
    assert tail.latents is not None, "a complete run has made steps"
    return [Final(image, cost, latents) for image, latents in zip(images, tail.latents)]


def _joined(seed: int, image: int) -> int:
    """One seed from two, so that images moved together get fresh noise of their own."""
    return (seed << 64) + image
