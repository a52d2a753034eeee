"""A preview by two ordinary sampling runs of a guider: the head at high resolution, the rest at low."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import comfy.model_management
import comfy.sample
import comfy.utils
import latent_preview
import torch

from ...adapters.k_diffusion import TwoCallPreview
from ...adapters.k_diffusion.randomness import preserved
from ...commutator import Plan, Transport
from .conditions import smaller
from .refusals import path_of, require_conditions, require_latent, require_sampler
from .samplers import continuing, finishing, recording

Latent = Mapping[str, Any]


def preview(noise: Any, guider: Any, sampler: Any, sigmas: torch.Tensor, latent: Latent, plan: Plan) -> tuple[Any, Any]:
    """The preview's latent (batch, ..., height / s, width / s) and the sampler that finishes it.

    Raises UnsupportedError and ValueError before the model is asked. torch's global generators are left as found.
    """
    require_sampler(sampler)
    require_latent(latent, plan)
    require_conditions(guider.original_conds, guider.model_patcher.model)
    if sigmas.shape[-1] < 3:
        raise ValueError(f"a preview needs a schedule of at least 2 steps, got {max(0, sigmas.shape[-1] - 1)}")
    path = path_of(guider.model_patcher.get_model_object("model_sampling"))
    calls = TwoCallPreview(plan, path)
    with preserved(guider.model_patcher.load_device):
        samples = comfy.sample.fix_empty_latent_channels(guider.model_patcher, latent["samples"])
        high = {**latent, "samples": samples}
        draws = noise.generate_noise(high)
        mask = latent.get("noise_mask")

        def run(asked: Any, with_noise: Any, start: Any, by: Any, levels: torch.Tensor) -> Any:
            return asked.sample(
                with_noise,
                start,
                by,
                levels,
                denoise_mask=mask,
                callback=_callback(guider, len(levels) - 1),
                disable_pbar=not comfy.utils.PROGRESS_BAR_ENABLED,
                seed=noise.seed,
            )

        run(guider, draws, samples, recording(sampler, calls), sigmas)
        stage = plan.stages[-1]
        operator = stage.candidates(plan.scale_before(len(plan.stages) - 1))[0]
        transport = Transport.of(operator, path, tuple(samples.shape), stage.time)
        small = transport.operator(samples).contiguous()
        low = smaller(guider, tuple(samples.shape), tuple(small.shape))
        levels = sigmas.new_tensor(calls.low_levels)
        out = run(low, transport.noise(draws).contiguous(), small, continuing(sampler, calls), levels)
    made = {key: value for key, value in latent.items() if key != "noise_mask"}
    made["samples"] = out.to(comfy.model_management.intermediate_device())
    return made, finishing(sampler, calls.tape)


def _callback(guider: Any, steps: int) -> Callable[..., Any]:
    """ComfyUI's own progress bar and live previewer."""
    return latent_preview.prepare_callback(guider.model_patcher, steps)
