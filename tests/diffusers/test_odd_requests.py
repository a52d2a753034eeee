"""Requests that a plain call understands in a way of its own: followed to the letter, or refused by name."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import (
    DPMSolverMultistepScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    HeunDiscreteScheduler,
    KDPM2DiscreteScheduler,
    LMSDiscreteScheduler,
)

from commutant.adapters.diffusers import Previewer, UnsupportedError
from commutant.commutator import Plan, Stage, TapeError

from ..commutator.plans import low
from . import tiny_flux, tiny_images, tiny_video
from .conftest import PROMPT, Case
from .scheduler_cases import FLOW, LEADING
from .tiny_unet import tiny_sd, tiny_sdxl

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

CALL: dict[str, Any] = {"height": 64, "width": 64, "num_inference_steps": 6}
SCALED = (
    EulerDiscreteScheduler,
    EulerAncestralDiscreteScheduler,
    HeunDiscreteScheduler,
    LMSDiscreteScheduler,
    KDPM2DiscreteScheduler,
)


def plain(pipe: Any, seed: int, **call: Any) -> torch.Tensor:
    return pipe(PROMPT, generator=torch.Generator().manual_seed(seed), output_type="latent", **call)[0][0]


def latents(pipe: Any, seed: int, plan: Plan, **call: Any) -> torch.Tensor:
    previewer = Previewer(pipe)
    (item,) = previewer.preview(PROMPT, seeds=[seed], plan=plan, progress=False, **call)
    return previewer.finish([item], output_type="latent")[0].image


@pytest.mark.parametrize("plan", [Plan.fewer(3), Plan(0, (Stage(1, 1), Stage(2, 2)))], ids=["fewer", "coarse head"])
@pytest.mark.parametrize("kind", SCALED)
def test_a_coarse_head_whose_noise_has_a_scale_of_its_own(kind: Any, plan: Plan) -> None:
    """With leading spacing the first noise level depends on the number of steps."""
    for pipe in (tiny_sdxl(), tiny_sd()) if kind is EulerDiscreteScheduler else (tiny_sd(),):
        pipe.scheduler = kind(**LEADING)
        assert torch.equal(latents(pipe, 2, plan, **CALL), plain(pipe, 2, **CALL))


def test_a_coarse_head_with_other_noise_is_still_refused() -> None:
    pipe = tiny_sdxl()
    previewer = Previewer(pipe)
    items = previewer.preview(PROMPT, seeds=[2, 3], plan=Plan.fewer(3), progress=False, **CALL)
    wrong = dataclasses.replace(items[0], tape=dataclasses.replace(items[0].tape, noise=items[1].tape.noise))
    with pytest.raises(TapeError, match="initial noise"):
        previewer.finish(wrong)
    (again,) = previewer.with_plan(items[:1], low(1))
    assert torch.equal(previewer.finish([again], output_type="latent")[0].image, plain(pipe, 2, **CALL))


@pytest.mark.parametrize("side", ["height", "width"])
def test_stable_diffusion_ignores_a_lone_side(side: str) -> None:
    pipe, call = tiny_sd(), {side: 64, "num_inference_steps": 3}
    pipe.unet.register_to_config(sample_size=16)
    final = latents(pipe, 2, low(1), **call)
    assert final.shape[-2:] == (16, 16)
    assert torch.equal(final, plain(pipe, 2, **call))


def test_a_size_of_none_is_the_models_own() -> None:
    pipe = tiny_images.aura_flow()
    call = {"height": None, "width": None, "num_inference_steps": 3, "max_sequence_length": 16}
    pipe.transformer.register_to_config(sample_size=8)
    assert torch.equal(latents(pipe, 2, low(1), **call), plain(pipe, 2, **call))


def test_kandinskys_embeddings_are_refused_by_name() -> None:
    embeds = {"prompt_embeds_qwen": torch.zeros(1, 4, 32), "prompt_embeds_clip": torch.zeros(1, 32)}
    call = CALL | embeds | {"prompt_cu_seqlens": torch.tensor([0, 4])}
    for pipe in (tiny_video.kandinsky_image(), tiny_video.kandinsky_video()):
        with pytest.raises(UnsupportedError, match=r"prompt_embeds_qwen=.*give prompts"):
            Previewer(pipe).preview(seeds=[1], **call)


@pytest.mark.parametrize("build", [tiny_flux.controlnet, tiny_flux.control, tiny_images.sd3_controlnet])
def test_control_tensors_are_refused_before_anything_runs(build: Any) -> None:
    pipe = build()
    pipe.text_encoder.register_forward_pre_hook(lambda *a: pytest.fail("the prompt was encoded"))
    for image in (torch.zeros(1, 3, 64, 64), [torch.zeros(3, 64, 64)]):
        with pytest.raises(UnsupportedError, match="give a PIL image"):
            Previewer(pipe).preview(PROMPT, seeds=[1], control_image=image, **CALL)


def test_advice_that_a_pipeline_can_follow() -> None:
    pipe = tiny_video.kandinsky_image()
    pipe.resolutions = [(64, 64)]
    with pytest.raises(UnsupportedError, match="give a size that it keeps") as refusal:
        Previewer(pipe).preview(PROMPT, seeds=[1], height=64, width=128, num_inference_steps=3)
    assert "max_area" not in str(refusal.value)


INPUTS = {"callback_on_step_end_tensor_inputs": ["latents", "prompt_embeds"]}


def _documented(pipe: Any, step: int, t: Any, values: dict[str, Any]) -> dict[str, Any]:
    values["prompt_embeds"] = values["prompt_embeds"] * 0
    return values


def _written(pipe: Any, step: int, t: Any, values: dict[str, Any]) -> dict[str, Any]:
    values["prompt_embeds"].mul_(0.5)
    return {}


def _guidance(pipe: Any, step: int, t: Any, values: dict[str, Any]) -> dict[str, Any]:
    pipe._guidance_scale = 0.0
    return values


CHANGES = {"given mapping": (_documented, "changed 'prompt_embeds'"), "in place": (_written, "changed 'prompt_embeds'")}


@pytest.mark.parametrize("name", CHANGES)
def test_callbacks_that_change_the_prompt_in_place_are_refused(flux: Case, name: str) -> None:
    callback, match = CHANGES[name]
    call = flux.call | INPUTS | {"callback_on_step_end": callback}
    with pytest.raises(UnsupportedError, match=match):
        Previewer(flux.pipe).preview(PROMPT, seeds=[1], plan=low(1), progress=False, **call)


def test_callbacks_that_change_the_guidance_are_refused(flux: Case) -> None:
    call = flux.call | {"callback_on_step_end": _guidance}
    with pytest.raises(UnsupportedError, match=r"changed pipe\._guidance_scale"):
        Previewer(flux.pipe).preview(PROMPT, seeds=[1], plan=low(1), progress=False, **call)


@pytest.mark.parametrize("flag", ["use_karras_sigmas", "use_exponential_sigmas", "use_lu_lambdas"])
def test_noise_levels_that_are_none_of_a_flow(flag: str) -> None:
    pipe = tiny_video.wan()
    pipe.scheduler = DPMSolverMultistepScheduler(**FLOW, **{flag: True})
    with pytest.raises(UnsupportedError, match=rf"use_flow_sigmas and {flag}.*{flag}=False"):
        Previewer(pipe)


def test_seeds_are_whole_numbers(flux: Case) -> None:
    previewer, call = Previewer(flux.pipe), flux.call | {"num_inference_steps": 2, "progress": False}
    for seeds in (np.int64(3), [np.uint32(3)], np.array([3]), torch.tensor([3]), range(3, 4)):
        (item,) = previewer.preview(PROMPT, seeds=seeds, plan=low(1), **call)
        assert item.seed == 3
        assert type(item.seed) is int
    for seeds in ([1.5], ["3"], "3", [True]):
        with pytest.raises(TypeError, match="whole numbers"):
            previewer.preview(PROMPT, seeds=seeds, **call)
    for seed in (2**64, -(2**63) - 1):
        with pytest.raises(ValueError, match="64 bits"):
            previewer.preview(PROMPT, seeds=[seed], **call)
