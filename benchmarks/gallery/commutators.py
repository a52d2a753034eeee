"""The commutator of operators on latents with the embedded model, along the plain runs of some prompts and seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from commutant.adapters.diffusers import PipelineField
from commutant.commutator import Field, Motion, RectifiedFlow, commutator_norm, sample_norm

from .families import Entry
from .values import Values

PATH = RectifiedFlow()


@dataclass(frozen=True)
class Run:
    """A plain run as the model saw it: its first noise, and the states (x, t) before some of its steps."""

    noise: torch.Tensor
    states: dict[int, tuple[torch.Tensor, float]]
    seed: int


class Remembering:
    """A field that computes no answer twice: all operators start from the same states, and some meet again."""

    def __init__(self, field: Field) -> None:
        self.field = field
        self.answers: dict[tuple[float, tuple[int, ...], bytes], torch.Tensor] = {}

    def denoised(self, x: torch.Tensor, t: float) -> torch.Tensor:
        key = t, tuple(x.shape), x.contiguous().numpy().tobytes()
        if key not in self.answers:
            self.answers[key] = self.field.denoised(x, t)
        return self.answers[key]


def recorded(pipe: Any, call: dict[str, Any], prompt: str, seed: int, steps: Sequence[int]) -> Run:
    """The plain run of a prompt and seed, stopped after the last of `steps`."""
    side = call["height"] // pipe.vae_scale_factor
    channels = pipe.transformer.config.in_channels // 4
    shape = (1, channels, side, side)
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    states: dict[int, tuple[torch.Tensor, float]] = {}

    def look(pipeline: Any, step: int, t: Any, values: dict[str, Any]) -> dict[str, Any]:
        if step + 1 in steps:
            x = pipeline._unpack_latents(values["latents"], call["height"], call["width"], pipeline.vae_scale_factor)
            states[step + 1] = x.float(), float(pipeline.scheduler.sigmas[step + 1])
        pipeline._interrupt = step + 1 >= max(steps)
        return values

    packed = pipe._pack_latents(noise, *shape)
    pipe(prompt, **call, latents=packed, output_type="latent", callback_on_step_end=look)
    return Run(noise, states, seed)


def norms(entry: Entry, field: Field, run: Run, step: int) -> tuple[float, float]:
    """Relative commutator norms before a step: with the right state, and the naive one (nan where they are the same).

    Isotropic operators: `commutator_norm`. Others: y = A (x - c n) + c N(n) at the same time, n the first noise, N the
    noise partner (`Motion`, which also says so for operators that change the size). Naive: y = A x, the same time.
    """
    (x, t), operator = run.states[step], entry.cells
    gain = operator.noise_gain(x.shape)
    if gain is not None:
        value = float(commutator_norm(operator, field, PATH, time=entry.time, relative=True)(x, t))
    else:
        value = relative(entry, field, x, t, apart(entry, run, x, t))
    return value, float("nan") if gain == 1 else relative(entry, field, x, t, operator(x))


def relative(entry: Entry, field: Field, x: torch.Tensor, t: float, y: torch.Tensor) -> float:
    """|A x0hat(x, t) - x0hat(y, t)| / |A x0hat(x, t)|."""
    first = entry.cells(field.denoised(x, t))
    return float(sample_norm(first - field.denoised(y, t)) / sample_norm(first))


def apart(entry: Entry, run: Run, x: torch.Tensor, t: float) -> torch.Tensor:
    """The state with signal and noise carried apart."""
    operator = entry.cells
    if entry.related and operator.out_shape(x.shape) == tuple(x.shape):
        return Motion.of(operator, PATH, run.noise, 1.0, [run.seed]).state(x, t)
    c = PATH.sigma(t)
    if entry.related:
        moved = operator.noise_partner()(run.noise, run.seed)
    else:
        other = torch.Generator().manual_seed(run.seed + 1_000_000)
        moved = torch.randn(operator.out_shape(x.shape), generator=other)
    return operator(x - c * run.noise) + c * moved


def measure(
    pipe: Any, call: dict[str, Any], prompt: str, seed: int, steps: Sequence[int], pages: dict[str, tuple[Entry, ...]]
) -> Values:
    """The norms of all pages on one run."""
    values = Values()
    run = recorded(pipe, call, prompt, seed, steps)
    field = PipelineField(pipe, prompt, **{k: v for k, v in call.items() if k != "num_inference_steps"})
    for step in steps:
        values.times[step] = run.states[step][1]
        remembering = Remembering(field)  # states of other steps ask other questions
        for page, entries in pages.items():
            for entry in entries:
                if entry.measured:
                    values.norms[seed, page, entry.label, step] = norms(entry, remembering, run, step)
    return values
