"""What single families cannot do is refused before the denoiser is evaluated, with the way out."""

from __future__ import annotations

import argparse
from typing import Any

import pytest
import torch

from commutant.adapters.diffusers import Previewer, UnsupportedError
from commutant.adapters.diffusers.schedulers.noise_levels import shift_of, shifted_timesteps
from commutant.errors import Refusal
from commutant.integrations.cli import preview

from .test_pipelines import made
from .tiny import euler
from .tiny_images import sana
from .tiny_registry import VARIANTS

REFUSED = [
    ("FluxControlNetPipeline", {"control_guidance_end": 0.5}, "control_guidance_end=.*step numbers"),
    ("Lumina2Pipeline", {"cfg_trunc_ratio": 0.25}, "cfg_trunc_ratio=.*step numbers"),
    ("ZImagePipeline", {"prompt_embeds": [torch.zeros(3, 32)]}, "prompt_embeds=.*give prompts"),
    ("FluxKontextPipeline", {"max_area": 128 * 192}, "makes 192x128 pixels .* where 96x64 is asked for"),
    ("Kandinsky5T2IPipeline", {"height": 128, "width": 128}, "makes 64x64 pixels .* where 128x128"),
    ("HiDreamImagePipeline", {"height": 128, "width": 128}, "makes 64x64 pixels .* where 128x128"),
    ("SanaPipeline", {"use_resolution_binning": True}, "use_resolution_binning=False"),
    ("FluxPipeline", {"control_image": object()}, "only text to image"),
    ("WanPipeline, 2.1", {"num_videos_per_prompt": 2}, "one seed per video"),
    ("WanPipeline, 2.1", {"height": 72}, "multiples of 32 pixels"),
]


@pytest.mark.parametrize(("name", "changes", "message"), REFUSED)
def test_refused_before_the_denoiser(name: str, changes: dict[str, Any], message: str) -> None:
    one = made(name)
    before = one.pipe.transformer
    calls: list[int] = []
    handle = before.register_forward_pre_hook(lambda *a: calls.append(1))
    try:
        with pytest.raises(UnsupportedError, match=message):
            one.previewer.__class__(one.pipe).preview(seeds=[1], progress=False, **{**one.call, **changes})
    finally:
        handle.remove()
    assert calls == []


def test_defaults_of_refused_arguments_are_taken() -> None:
    one = made("FluxControlNetPipeline")
    one.previewer.preview(seeds=[1], progress=False, control_guidance_end=1.0, **one.call)


def test_a_size_that_binning_keeps_needs_no_switch() -> None:
    """Only a size that the pipeline would replace is refused; a finish is then the user's own call with binning on."""
    pipe = sana()
    pipe.transformer.register_to_config(sample_size=16)  # bins of some 512 x 512 pixels
    pipe.set_progress_bar_config(disable=True)
    call = VARIANTS["SanaPipeline"].arguments() | {"height": 512, "width": 512, "use_resolution_binning": True}
    call |= {"num_inference_steps": 3, "output_type": "latent"}
    previewer = Previewer(pipe)
    (item,) = previewer.preview(seeds=[1], plan="naive", progress=False, **call)
    plain = pipe(generator=torch.Generator().manual_seed(1), **call)[0]
    assert item.image.shape[-1] * 2 == plain.shape[-1]
    assert torch.equal(previewer.finish([item])[0].image, plain[0])


def test_the_command_line_refuses_videos() -> None:
    arguments = argparse.Namespace(batch=1, head_batch=1)
    with pytest.raises(Refusal, match="WanPipeline makes videos"):
        preview._previewer(made("WanPipeline, 2.1").pipe, arguments)
    preview._previewer(made("FluxPipeline").pipe, arguments)


def test_a_mean_flow_is_refused() -> None:
    one = made("HunyuanImagePipeline, CFG")
    one.pipe.transformer.register_to_config(use_meanflow=True)
    try:
        with pytest.raises(UnsupportedError, match="mean-flow"):
            Previewer(one.pipe)
    finally:
        one.pipe.transformer.register_to_config(use_meanflow=False)


def test_times_before_a_shift_are_found_again() -> None:
    """CogView4's schedule: the model is told 1000, 800, ..., the noise levels are shifted."""
    scheduler = euler(dynamic=True)
    told = [1000.0, 800.0, 600.0, 400.0, 200.0]
    scheduler.set_timesteps(timesteps=told, sigmas=[t / 1000 for t in told], mu=1.2)
    assert float(scheduler.sigmas[2]) > 0.7
    k = shift_of(scheduler)
    assert k is not None
    found = shifted_timesteps(scheduler, scheduler.sigmas[:-1].tolist(), k)
    torch.testing.assert_close(found, torch.tensor(told), rtol=1e-4, atol=1e-2)
    scheduler.sigmas[2] = 0.3
    with pytest.raises(UnsupportedError, match="do not follow"):
        shift_of(scheduler)


def test_other_schedules_are_told_their_noise_levels() -> None:
    scheduler = euler()
    scheduler.set_timesteps(5)
    assert shift_of(scheduler) is None
