"""Stable Diffusion pipelines with tiny random weights: real classes, milliseconds per evaluation."""

from __future__ import annotations

from typing import Any

import torch
from diffusers import (
    EulerDiscreteScheduler,
    PNDMScheduler,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)

from .tiny import clip, clip_tokenizer, vae

# The noise schedule of Stable Diffusion 1.x, 2.x and XL.
SCHEDULE: dict[str, Any] = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "num_train_timesteps": 1000,
}


def _unet(**config: Any) -> UNet2DConditionModel:
    return UNet2DConditionModel(
        sample_size=64,
        in_channels=4,
        out_channels=4,
        block_out_channels=(8, 16),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        layers_per_block=1,
        norm_num_groups=4,
        attention_head_dim=4,
        **config,
    ).eval()


def tiny_sd(seed: int = 0, *, prediction: str = "epsilon") -> StableDiffusionPipeline:
    """Stable Diffusion 1.x (eps) or 2.x (v): latents (B, 4, H/8, W/8), a UNet that halves once."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        scheduler = PNDMScheduler(**SCHEDULE, skip_prk_steps=True, steps_offset=1, prediction_type=prediction)
        pipe = StableDiffusionPipeline(
            vae=vae(4),
            text_encoder=clip(False),
            tokenizer=clip_tokenizer(),
            unet=_unet(cross_attention_dim=32),
            scheduler=scheduler,
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        )
    pipe.set_progress_bar_config(disable=True)
    return pipe


def tiny_sdxl(seed: int = 0) -> StableDiffusionXLPipeline:
    """Stable Diffusion XL, told the sizes of the image it makes."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        unet = _unet(
            cross_attention_dim=64,
            addition_embed_type="text_time",
            addition_time_embed_dim=8,
            projection_class_embeddings_input_dim=8 * 6 + 32,
        )
        pipe = StableDiffusionXLPipeline(
            vae=vae(4),
            text_encoder=clip(False),
            tokenizer=clip_tokenizer(),
            text_encoder_2=clip(True),
            tokenizer_2=clip_tokenizer(),
            unet=unet,
            scheduler=EulerDiscreteScheduler(**SCHEDULE, timestep_spacing="leading", steps_offset=1),
            force_zeros_for_empty_prompt=True,
            add_watermarker=False,
        )
    pipe.set_progress_bar_config(disable=True)
    return pipe
