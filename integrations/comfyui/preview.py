"""A preview by two ordinary sampling runs of a guider: the head at high resolution, the rest at low.

Each run uses the user's own sampler function, in a sampler that records the head, continues at low resolution, or
finishes. At low resolution the guider has the same model and conditions, with places in cells scaled down; ComfyUI
itself fits masks and control hints to the size of each run's noise.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

import comfy.model_management
import comfy.sample
import comfy.utils
import latent_preview
import torch
from comfy.samplers import KSAMPLER

from ...adapters.k_diffusion import TwoCallPreview, finish
from ...adapters.k_diffusion.calling import ScheduleError
from ...adapters.k_diffusion.randomness import preserved
from ...commutator import Plan, Tape, TapeError, Transport
from .refusals import ReplayingSampler, low_stage, path_of, require_conditions, require_latent, require_sampler

Latent = Mapping[str, Any]
CELL = 8  # pixels: what ComfyUI itself assumes where a condition names no width


def preview(noise: Any, guider: Any, sampler: Any, sigmas: torch.Tensor, latent: Latent, plan: Plan) -> tuple[Any, Any]:
    """The preview's latent (batch, ..., height / scale, width / scale) and the sampler that finishes it.

    Args:
        noise, guider, sampler, latent: of ComfyUI's nodes, as SamplerCustomAdvanced takes them.
        sigmas: of the final, N + 1 falling noise levels.

    Raises:
        UnsupportedError, ValueError: before the model is called, for what has no exact preview.

    torch's global generators are left as they were found.
    """
    require_sampler(sampler)
    low = low_stage(plan)
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

        def run(of: Any, with_noise: Any, start: Any, by: Any, levels: torch.Tensor) -> Any:
            return of.sample(
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
        operator = plan.stages[low].candidates(plan.scale_before(low))[0]
        transport = Transport.of(operator, path, tuple(samples.shape), plan.stages[low].time)
        small = transport.operator(samples).contiguous()
        scaled = scaled_guider(guider, tuple(samples.shape), tuple(small.shape))
        levels = sigmas.new_tensor(calls.low_levels)
        out = run(scaled, transport.noise(draws).contiguous(), small, continuing(sampler, calls), levels)
    made = {key: value for key, value in latent.items() if key != "noise_mask"}
    made["samples"] = out.to(comfy.model_management.intermediate_device())
    return made, finishing(sampler, calls.tape)


def recording(sampler: KSAMPLER, calls: TwoCallPreview) -> KSAMPLER:
    """A sampler that records the head. It returns the latent that it began with, no result."""

    def sample(model: Any, x: torch.Tensor, sigmas: torch.Tensor, **given: Any) -> torch.Tensor:
        try:
            calls.high(sampler.sampler_function, model, x, sigmas, **given)
        except ScheduleError as error:
            raise ScheduleError(f"{error} (in this node: tail 0)") from None
        return x

    return _replaying(sampler, sample)


def continuing(sampler: KSAMPLER, calls: TwoCallPreview) -> KSAMPLER:
    """A sampler that makes the preview, from the recorded head carried to low resolution: it ignores its own latent and
    sigmas."""

    def sample(
        model: Any, x: torch.Tensor, sigmas: torch.Tensor, extra_args: Any, callback: Any, **_: Any
    ) -> torch.Tensor:
        return calls.low(model, extra_args, callback)

    return _replaying(sampler, sample)


def finishing(sampler: KSAMPLER, tape: Tape) -> KSAMPLER:
    """A sampler that makes what the stock sampler node makes with `sampler`, bit for bit, with the answers of the tape.

    It raises TapeError, before the model is called, for another noise, latent or schedule.
    """

    def sample(model: Any, x: torch.Tensor, sigmas: torch.Tensor, **given: Any) -> Any:
        recorded = torch.as_tensor(tape.noise).to(x.device)
        if x.dtype != recorded.dtype or not torch.equal(x, recorded):
            raise TapeError(
                "this finish belongs to another noise or latent: connect the noise, sigmas and latent image that the "
                "Preview Sampler has"
            )
        return finish(sampler.sampler_function, model, tape, sigmas, **given)

    return _replaying(sampler, sample)


def _replaying(sampler: KSAMPLER, sample: Callable[..., Any]) -> KSAMPLER:
    return ReplayingSampler(sample, sampler.extra_options, sampler.inpaint_options)


def scaled_guider(guider: Any, high: tuple[int, ...], low: tuple[int, ...]) -> Any:
    """A copy of `guider` for latents of shape `low` in place of `high`."""
    other = copy.copy(guider)
    other.original_conds = {
        name: [_scaled(cond, high, low) for cond in conds] for name, conds in guider.original_conds.items()
    }
    return other


def _scaled(cond: dict[str, Any], high: tuple[int, ...], low: tuple[int, ...]) -> dict[str, Any]:
    scaled = dict(cond)
    # Models with the size of the picture as a condition (SDXL) get the final's: ComfyUI counts dims 2 and 3.
    scaled.setdefault("height", high[2] * CELL)
    scaled.setdefault("width", high[3] * CELL)
    if "area" in scaled and scaled["area"][0] != "percentage":
        scaled["area"] = _area(tuple(scaled["area"]), high[-2:], low[-2:])
    return scaled


def _area(area: tuple[int, ...], high: tuple[int, ...], low: tuple[int, ...]) -> tuple[int, ...]:
    """Sizes, then offsets, of the dims of a latent in cells; the last two of each become smaller."""
    dims = len(area) // 2
    sizes, offsets = list(area[:dims]), list(area[dims:])
    for axis in (-2, -1):
        begin = round(offsets[axis] * low[axis] / high[axis])
        end = round((offsets[axis] + sizes[axis]) * low[axis] / high[axis])
        offsets[axis] = min(begin, low[axis] - 1)
        sizes[axis] = max(1, end - offsets[axis])
    return (*sizes, *offsets)


def _callback(guider: Any, steps: int) -> Callable[..., Any]:
    """ComfyUI's own progress bar and live previewer."""
    return latent_preview.prepare_callback(guider.model_patcher, steps)
