"""Real pipeline classes with tiny random weights: every code path of the originals, milliseconds per evaluation."""

from __future__ import annotations

import torch
from diffusers import (
    AutoencoderKL,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    FluxTransformer2DModel,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
)
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    T5Config,
    T5EncoderModel,
    T5Tokenizer,
)

WORDS = ["a", "fox", "and", "balloon", "on", "night", "background", "cat", "red", "blue", "not"]


def clip_tokenizer() -> CLIPTokenizer:
    letters = sorted({c for w in WORDS for c in w})
    tokens = [*letters, *[f"{c}</w>" for c in letters], "<|startoftext|>", "<|endoftext|>"]
    return CLIPTokenizer(vocab={t: i for i, t in enumerate(tokens)}, merges=[], model_max_length=77)


def t5_tokenizer() -> T5Tokenizer:
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", -9.0), ("▁", -5.0)]
    pieces += [(f"▁{w}", -2.0) for w in WORDS] + [(c, -8.0) for c in "abcdefghijklmnopqrstuvwxyz"]
    return T5Tokenizer(vocab=pieces, extra_ids=0)


def clip(projected: bool) -> torch.nn.Module:
    vocabulary = len(clip_tokenizer())
    config = CLIPTextConfig(
        vocab_size=vocabulary,
        hidden_size=32,
        intermediate_size=37,
        num_hidden_layers=2,
        num_attention_heads=4,
        projection_dim=32,
        max_position_embeddings=77,
        bos_token_id=vocabulary - 2,
        eos_token_id=vocabulary - 1,
        pad_token_id=vocabulary - 1,
    )
    return (CLIPTextModelWithProjection if projected else CLIPTextModel)(config).eval()


def t5(width: int = 32) -> T5EncoderModel:
    config = T5Config(vocab_size=64, d_model=width, d_kv=8, d_ff=37, num_layers=2, num_heads=4)
    return T5EncoderModel(config).eval()


def vae(channels: int, seed_blocks: int = 4) -> AutoencoderKL:
    blocks = (8,) * seed_blocks
    return AutoencoderKL(
        block_out_channels=blocks,
        down_block_types=("DownEncoderBlock2D",) * seed_blocks,
        up_block_types=("UpDecoderBlock2D",) * seed_blocks,
        latent_channels=channels,
        norm_num_groups=4,
        use_quant_conv=False,
        use_post_quant_conv=False,
        shift_factor=0.06,
        scaling_factor=1.5,
    ).eval()


def euler(dynamic: bool = False) -> FlowMatchEulerDiscreteScheduler:
    """The scheduler of most flow pipelines, with a shift of 3 or one that depends on the size."""
    return FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=dynamic, shift=3.0)


def tiny_flux(seed: int = 0, *, guidance_embeds: bool = False, dynamic_shift: bool = True) -> FluxPipeline:
    """A FluxPipeline of some 50k random weights; latents (B, 4, H/8, W/8), packed two by two."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        transformer = FluxTransformer2DModel(
            patch_size=1,
            in_channels=16,
            num_layers=1,
            num_single_layers=1,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=32,
            pooled_projection_dim=32,
            axes_dims_rope=(4, 4, 8),
            guidance_embeds=guidance_embeds,
        ).eval()
        pipe = FluxPipeline(
            scheduler=euler(dynamic=dynamic_shift),
            vae=vae(4),
            text_encoder=clip(False),
            tokenizer=clip_tokenizer(),
            text_encoder_2=t5(),
            tokenizer_2=t5_tokenizer(),
            transformer=transformer,
        )
    pipe.set_progress_bar_config(disable=True)
    return pipe


def tiny_sd3(seed: int = 0) -> StableDiffusion3Pipeline:
    """A StableDiffusion3Pipeline of random weights; latents (B, 4, H/8, W/8), patch size 2."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        transformer = SD3Transformer2DModel(
            sample_size=16,
            patch_size=2,
            in_channels=4,
            num_layers=2,
            attention_head_dim=8,
            num_attention_heads=4,
            joint_attention_dim=64,
            caption_projection_dim=32,
            pooled_projection_dim=64,
            out_channels=4,
            pos_embed_max_size=96,
        ).eval()
        pipe = StableDiffusion3Pipeline(
            transformer=transformer,
            scheduler=euler(),
            vae=vae(4),
            text_encoder=clip(True),
            tokenizer=clip_tokenizer(),
            text_encoder_2=clip(True),
            tokenizer_2=clip_tokenizer(),
            text_encoder_3=t5(64),
            tokenizer_3=t5_tokenizer(),
        )
    pipe.set_progress_bar_config(disable=True)
    return pipe
