"""Moved, turned and warped images: a recorded run retraced to a step, moved there, and continued."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from ...commutator import Guidance, Manipulation
from ...commutator.manipulation import move_guidance, move_step
from ...operators import LinearOperator, ShapeError
from ..sheet import Cost, Final, Preview
from .call import run
from .callbacks import for_tail
from .errors import InterruptedByUser, UnsupportedError
from .finishing import merged, remembered, tapes_as_batch
from .layout import Layout
from .loops import RetraceLoop
from .making import collated
from .request import restored
from .schedulers import MINIMUM_STEPS, Binding, binding_of, draws
from .tail_loop import Course, TailLoop


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
        chosen = move_guidance(steps) if isinstance(guidance, str) else guidance
        return cls(operator, move_step(steps) if at is None else at, chosen, seed)

    def on(self, layout: Layout, header: Mapping[str, Any], binding: Binding) -> Manipulation:
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
        return Manipulation(operator, binding.evaluation(self.at), binding.guided(self.guidance))


def check_draws(scheduler: Any, call: Mapping[str, Any]) -> None:
    """UnsupportedError for a run whose solver draws fresh noise: a state would be no longer the first noise and signal.

    `Motion` moves noise by what a deterministic solver makes of the first state; noise that came later is not in it.
    """
    if draws(scheduler) or call.get("eta"):
        raise UnsupportedError(
            f"{type(scheduler).__name__} draws fresh noise in its steps, which cannot be told from the signal when an "
            "image is moved; use a deterministic scheduler (EulerDiscreteScheduler, DPMSolverMultistepScheduler)"
        )


def move_batch(
    pipe: Any, denoiser: str, previews: Sequence[Preview], move: Move, layout: Layout, output_type: str | None
) -> list[Final]:
    """Some previews' images, moved, in one batch.

    Raises ValueError for previews that cannot share a call; TapeError as `RetraceLoop` does.
    """
    began = time.perf_counter()
    batch = tapes_as_batch([p.tape for p in previews])
    call, count, header = merged([p.call for p in previews]), len(previews), previews[0].tape.header
    binding = binding_of(pipe.scheduler)
    manipulation = move.on(layout, header, binding)

    retrace = RetraceLoop(
        *batch,
        until=manipulation.switch,
        reference=manipulation.needs_reference,
        binding=binding,
        **remembered(previews),
    )
    run(pipe, denoiser, call | {"generator": _generators(previews), "output_type": "latent"}, retrace)
    if retrace.head is None or retrace.timetable is None:
        raise InterruptedByUser
    head = collated([retrace.head], layout)
    seeds = [move.seed if p.seed is None else _joined(move.seed, p.seed) for p in previews]
    course = Course.of_manipulation(manipulation, head, seeds, binding, retrace.timetable)
    tail = TailLoop(course, head, layout, retrace.head.state.dtype)
    images = _continued(pipe, denoiser, call | {"generator": _generators(previews)}, tail, output_type)

    high = round((retrace.gate.rows + tail.gate.rows) / count)
    per_evaluation = tail.gate.rows / len(tail.evaluations) / count
    seconds = (retrace.gate.seconds + tail.gate.seconds) / count
    cost = Cost(
        high, 0, round(header["evaluations"] * per_evaluation), seconds, 0.0, (time.perf_counter() - began) / count
    )
    return [Final(image, cost) for image in images]


def _continued(pipe: Any, denoiser: str, call: Mapping[str, Any], loop: TailLoop, output_type: str | None) -> Any:
    def noise(shape: tuple[int, ...]) -> torch.Tensor:
        return loop.first_state()

    steps = max(MINIMUM_STEPS, len(loop.evaluations))
    changes: dict[str, Any] = {"num_inference_steps": steps, **for_tail(call, loop, loop.head.switch)}
    if "sigmas" in call:
        changes["sigmas"] = None
    if output_type is not None:
        changes["output_type"] = output_type
    out, _ = run(pipe, denoiser, {**call, **changes}, loop, noise=noise)
    if not loop.complete:
        raise InterruptedByUser
    return out[0]


def _generators(previews: Sequence[Preview]) -> Any:
    made = [restored(p.tape.rng, p.tape.header["rng_device"]) for p in previews if p.tape.rng is not None]
    return made[0] if len(made) == 1 else made


def _joined(seed: int, image: int) -> int:
    """One seed from two, so that images moved together get fresh noise of their own."""
    return (seed << 64) + image
