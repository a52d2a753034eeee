"""A real FluxPipeline at the size of FLUX.1-dev, or a tiny one, with random weights: what speed is measured on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, FluxPipeline, FluxTransformer2DModel


@dataclass(frozen=True)
class Geometry:
    """A model's sizes: configurations of both networks, pixels of a side, tokens of the prompt."""

    transformer: dict[str, Any]
    vae: dict[str, Any]
    side: int
    tokens: int


FLUX_DEV = Geometry(
    transformer={
        "patch_size": 1,
        "in_channels": 64,
        "num_layers": 19,
        "num_single_layers": 38,
        "attention_head_dim": 128,
        "num_attention_heads": 24,
        "joint_attention_dim": 4096,
        "pooled_projection_dim": 768,
        "guidance_embeds": True,
        "axes_dims_rope": (16, 56, 56),
    },
    vae={
        "block_out_channels": (128, 256, 512, 512),
        "down_block_types": ("DownEncoderBlock2D",) * 4,
        "up_block_types": ("UpDecoderBlock2D",) * 4,
        "layers_per_block": 2,
        "latent_channels": 16,
        "norm_num_groups": 32,
        "sample_size": 1024,
        "scaling_factor": 0.3611,
        "shift_factor": 0.1159,
        "use_quant_conv": False,
        "use_post_quant_conv": False,
    },
    side=1024,
    tokens=512,
)
TINY = Geometry(
    transformer=FLUX_DEV.transformer
    | {
        "in_channels": 16,
        "num_layers": 2,
        "num_single_layers": 2,
        "attention_head_dim": 16,
        "num_attention_heads": 2,
        "joint_attention_dim": 32,
        "pooled_projection_dim": 16,
        "axes_dims_rope": (4, 4, 8),
    },
    vae=FLUX_DEV.vae
    | {
        "block_out_channels": (8, 8, 8, 8),
        "layers_per_block": 1,
        "latent_channels": 4,
        "norm_num_groups": 4,
        "sample_size": 64,
    },
    side=64,
    tokens=8,
)


def pipeline(geometry: Geometry, device: str, dtype: torch.dtype = torch.bfloat16) -> FluxPipeline:
    """A real FluxPipeline of that size with random weights and no text encoders."""
    generator = torch.Generator(device).manual_seed(0)
    transformer = random_model(FluxTransformer2DModel, geometry.transformer, device, dtype, generator)
    vae = random_model(AutoencoderKL, geometry.vae, device, dtype, generator)
    scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True)  # its other defaults are FLUX's
    pipe = FluxPipeline(scheduler, vae, None, None, None, None, transformer)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def random_model(
    kind: Any, config: dict[str, Any], device: str, dtype: torch.dtype, generator: torch.Generator
) -> torch.nn.Module:
    """A model that never exists anywhere but on its device and in its dtype: 24 GB for FLUX, not 48 of them twice.

    Raises RuntimeError for a model with buffers, which would stay uninitialised.
    """
    with torch.device("meta"):
        model = kind(**config)
    buffers = [name for name, _ in model.named_buffers()]
    if buffers:
        raise RuntimeError(f"{kind.__name__} has buffers that this does not fill: {', '.join(buffers)}")
    # torch's own: that of diffusers warns of modules to be kept in float32, of which there are none.
    model = torch.nn.Module.to(model, dtype).to_empty(device=device)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim > 1:
                # Like a fresh linear layer, so that activations stay finite through 57 blocks.
                parameter.normal_(0, parameter[0].numel() ** -0.5, generator=generator)
            else:
                parameter.fill_(1.0 if name.endswith("weight") else 0.0)  # norms; biases
    return model.eval().requires_grad_(False)


def request(geometry: Geometry, steps: int, device: str, dtype: torch.dtype = torch.bfloat16) -> dict[str, Any]:
    """Arguments of one plain call, with embeddings in place of a prompt."""
    generator = torch.Generator(device).manual_seed(1)

    def embedding(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator, device=device, dtype=dtype)

    wide, pooled = (geometry.transformer[name] for name in ("joint_attention_dim", "pooled_projection_dim"))
    return {
        "prompt_embeds": embedding(1, geometry.tokens, wide),
        "pooled_prompt_embeds": embedding(1, pooled),
        "height": geometry.side,
        "width": geometry.side,
        "num_inference_steps": steps,
        "guidance_scale": 3.5,
        "max_sequence_length": geometry.tokens,
    }
