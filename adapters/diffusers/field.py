"""A pipeline as a field: the denoised prediction of its model at any state and time, for commutators and reports."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import torch

from .layout import Layout, probed_layout
from .lock import held
from .request import checked
from .run import Loop, Step, Stop, run
from .schedulers import MINIMUM_STEPS, Binding, binding_of


class PipelineField:
    """`denoised(x, t)` of a pipeline's model, guidance included, as `commutator` takes it.

    Args:
        pipe: as for `Previewer`. prompt: one string. call: other arguments of the plain call (guidance and the like);
            height, width and the number of steps have no part in it.

    Every evaluation is an ordinary pipeline call that is stopped after its first step, made with seed 0 (which matters
    to pipelines that draw for the encoding of control images). Prompts are encoded once.
    """

    def __init__(self, pipe: Any, prompt: str, **call: Any) -> None:
        self.pipe = pipe
        rest = {k: v for k, v in call.items() if k not in ("num_inference_steps", "sigmas", "output_type")}
        with held(pipe):
            self.binding = binding_of(pipe.scheduler)
            self._request = checked(pipe, prompt, [0], None, Fraction(1), rest)
        self.path = self.binding.path
        self._layouts: dict[tuple[int, int], Layout] = {}
        self._memo: dict[Any, Any] = {}

    def denoised(self, x: torch.Tensor, t: float) -> torch.Tensor:
        """x0hat(x, t) for latents x (batch, channels, height, width) in cells, of any size that the pipeline can make.

        Times are those of the path: of the flow, or noise-to-signal ratios. Raises ValueError for a time outside those
        of the model, UnsupportedError for a size that the pipeline cannot make.
        """
        latest = self.binding.latest
        if not 0 < t <= latest * (1 + 1e-6):
            raise ValueError(f"the model has a denoised prediction at times in (0, {latest:g}], got {t}")
        height, width = self._pixels(x)
        layout = self._layout(height, width)
        dtype = getattr(self.pipe, self._request.family.denoiser).dtype
        loop = OnceLoop(t, self.binding)
        images = [0] * x.shape[0]
        call = self._request.batch(
            images,
            generator=self._request.generators(images),
            height=height,
            width=width,
            num_inference_steps=MINIMUM_STEPS,
        )
        settings = self._request.family.low(self.pipe, call, height, width)
        call |= {"output_type": "latent", **settings.call}
        run(
            self.pipe,
            self._request.family.denoiser,
            call,
            loop,
            memo=self._memo,
            noise=lambda _: layout.noise(x).to(dtype),
            attributes=settings.attributes,
        )
        assert loop.output is not None, "a call that was not stopped by its step raises"
        return self.path.denoised(layout.spatial(loop.output), x, t)

    def _pixels(self, x: torch.Tensor) -> tuple[int, int]:
        unit = self._request.family.cell_size(self.pipe)
        return x.shape[-2] * unit, x.shape[-1] * unit

    def _layout(self, height: int, width: int) -> Layout:
        if (height, width) not in self._layouts:
            call = self._request.batch([0], height=height, width=width)
            settings = self._request.family.low(self.pipe, call, height, width)
            layout = probed_layout(self.pipe, {**call, **settings.call}, self._memo, settings.attributes)
            self._layouts[height, width] = layout
        return self._layouts[height, width]


class OnceLoop(Loop):
    """One evaluation at a given time."""

    unit_noise = True

    def __init__(self, t: float, binding: Binding) -> None:
        super().__init__()
        self.t, self.binding = t, binding
        self.output: torch.Tensor | None = None

    def scheduled(self, scheduler: Any) -> None:
        once = self.binding.alone(self.t)
        scheduler.timesteps = self.binding.begin(scheduler, once).to(scheduler.timesteps.device)

    def step(self, real: Step, output: torch.Tensor, timestep: Any, sample: torch.Tensor) -> torch.Tensor:
        self.output = output
        raise Stop
