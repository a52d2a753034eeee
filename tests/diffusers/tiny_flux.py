"""The Flux family, tiny: edits, controls, Flux 2, Chroma."""

from __future__ import annotations

from typing import Any

import torch
from diffusers import (
    AutoencoderKLFlux2,
    ChromaPipeline,
    ChromaTransformer2DModel,
    Flux2KleinPipeline,
    Flux2Pipeline,
    Flux2Transformer2DModel,
    FluxControlNetModel,
    FluxControlNetPipeline,
    FluxControlPipeline,
    FluxKontextPipeline,
    FluxTransformer2DModel,
)

from . import tiny, tiny_text
from .tiny import euler
from .tiny_text import seeded

FLUX = {
    "patch_size": 1,
    "num_layers": 1,
    "num_single_layers": 1,
    "attention_head_dim": 16,
    "num_attention_heads": 2,
    "joint_attention_dim": 32,
}


def flux_like(pipeline: Any, in_channels: int = 16, **parts: Any) -> Any:
    """A pipeline with the parts of Flux and others."""
    with seeded(0):
        transformer = FluxTransformer2DModel(
            **FLUX, in_channels=in_channels, out_channels=16, pooled_projection_dim=32, axes_dims_rope=(4, 4, 8)
        )
        return pipeline(
            scheduler=euler(dynamic=True),
            vae=tiny.vae(4),
            text_encoder=tiny.clip(False),
            tokenizer=tiny.clip_tokenizer(),
            text_encoder_2=tiny.t5(),
            tokenizer_2=tiny.t5_tokenizer(),
            transformer=transformer.eval(),
            **parts,
        )


def kontext() -> FluxKontextPipeline:
    return flux_like(FluxKontextPipeline)


def control() -> FluxControlPipeline:
    return flux_like(FluxControlPipeline, in_channels=32)


def controlnet() -> FluxControlNetPipeline:
    with seeded(1):
        net = FluxControlNetModel(
            **FLUX,
            in_channels=16,
            pooled_projection_dim=32,
            axes_dims_rope=[4, 4, 8],
            conditioning_embedding_channels=None,
        ).eval()
        for parameter in net.parameters():  # its output layers start at zero, which would control nothing
            torch.nn.init.normal_(parameter, std=0.05)
    return flux_like(FluxControlNetPipeline, controlnet=net)


def chroma() -> ChromaPipeline:
    with seeded(0):
        transformer = ChromaTransformer2DModel(
            **FLUX,
            in_channels=16,
            axes_dims_rope=(4, 4, 8),
            approximator_num_channels=8,
            approximator_hidden_dim=16,
            approximator_layers=1,
        )
        return ChromaPipeline(
            scheduler=euler(),
            vae=tiny.vae(4),
            text_encoder=tiny.t5(),
            tokenizer=tiny.t5_tokenizer(),
            transformer=transformer.eval(),
        )


def _flux2_parts(text_width: int) -> dict[str, Any]:
    blocks = (8,) * 4
    transformer = Flux2Transformer2DModel(
        **FLUX | {"joint_attention_dim": text_width},
        in_channels=16,
        timestep_guidance_channels=16,
        axes_dims_rope=(4, 4, 4, 4),
    )
    vae = AutoencoderKLFlux2(
        block_out_channels=blocks,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        latent_channels=4,
        layers_per_block=1,
        norm_num_groups=4,
        use_quant_conv=False,
        use_post_quant_conv=False,
    )
    vae.bn.running_mean.normal_(std=0.1)
    return {"scheduler": euler(dynamic=True), "transformer": transformer.eval(), "vae": vae.eval()}


def flux2_klein() -> Flux2KleinPipeline:
    with seeded(0):
        return Flux2KleinPipeline(
            **_flux2_parts(2 * tiny_text.WIDTH),
            text_encoder=tiny_text.qwen3(causal=True),
            tokenizer=tiny_text.words_tokenizer(),
        )


def flux2() -> Flux2Pipeline:
    with seeded(0):
        return Flux2Pipeline(
            **_flux2_parts(2 * tiny_text.WIDTH),
            text_encoder=tiny_text.mistral3(),
            tokenizer=tiny_text.ChatProcessor(),
        )
