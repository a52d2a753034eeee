"""Text-to-image pipelines outside the Flux and Stable Diffusion families, tiny."""

from __future__ import annotations

from typing import Any

import torch
from diffusers import (
    AuraFlowPipeline,
    AuraFlowTransformer2DModel,
    AutoencoderDC,
    AutoencoderKLHunyuanImage,
    AutoencoderKLQwenImage,
    CogView4ControlPipeline,
    CogView4Pipeline,
    CogView4Transformer2DModel,
    DPMSolverMultistepScheduler,
    HiDreamImagePipeline,
    HiDreamImageTransformer2DModel,
    HunyuanImagePipeline,
    HunyuanImageTransformer2DModel,
    Lumina2Pipeline,
    Lumina2Transformer2DModel,
    OvisImagePipeline,
    OvisImageTransformer2DModel,
    PixArtSigmaPipeline,
    PixArtTransformer2DModel,
    QwenImagePipeline,
    QwenImageTransformer2DModel,
    SanaPipeline,
    SanaTransformer2DModel,
    SD3ControlNetModel,
    StableDiffusion3ControlNetPipeline,
    ZImagePipeline,
    ZImageTransformer2DModel,
)
from diffusers.guiders import AdaptiveProjectedMixGuidance, ClassifierFreeGuidance

from . import tiny, tiny_text
from .tiny import euler
from .tiny_text import WIDTH, seeded


def sd3_controlnet() -> StableDiffusion3ControlNetPipeline:
    plain = tiny.tiny_sd3()
    with seeded(1):
        net = SD3ControlNetModel(
            sample_size=16,
            patch_size=2,
            in_channels=4,
            num_layers=1,
            attention_head_dim=8,
            num_attention_heads=4,
            joint_attention_dim=64,
            caption_projection_dim=32,
            pooled_projection_dim=64,
            out_channels=4,
            pos_embed_max_size=96,
        ).eval()
        for parameter in net.parameters():  # its output layers start at zero, which would control nothing
            torch.nn.init.normal_(parameter, std=0.05)
    return StableDiffusion3ControlNetPipeline(**plain.components, controlnet=net)


def qwen_image() -> QwenImagePipeline:
    with seeded(0):
        vae = AutoencoderKLQwenImage(base_dim=8, z_dim=4, dim_mult=[1, 1, 1, 1], num_res_blocks=1, **statistics())
        transformer = QwenImageTransformer2DModel(
            in_channels=16,
            out_channels=4,
            num_layers=1,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=WIDTH,
            axes_dims_rope=(4, 6, 6),
        )
        pipe = QwenImagePipeline(
            scheduler=euler(dynamic=True),
            vae=vae.eval(),
            text_encoder=tiny_text.qwen_vl(),
            tokenizer=tiny_text.words_tokenizer(),
            transformer=transformer.eval(),
        )
    pipe.prompt_template_encode_start_idx = 4  # its template is shorter in words than in the real tokens
    return pipe


def statistics(channels: int = 4) -> dict[str, list[float]]:
    """Latent means and deviations of autoencoders with fewer channels than the real ones."""
    return {"latents_mean": [0.1] * channels, "latents_std": [1.5] * channels}


def z_image() -> ZImagePipeline:
    with seeded(0):
        transformer = ZImageTransformer2DModel(
            in_channels=4,
            dim=32,
            n_layers=1,
            n_refiner_layers=1,
            n_heads=2,
            n_kv_heads=2,
            cap_feat_dim=WIDTH,
            axes_dims=[4, 6, 6],
            axes_lens=[256, 32, 32],
        )
        for name in ("x_pad_token", "cap_pad_token"):  # left as allocated: loading a checkpoint fills them
            torch.nn.init.normal_(getattr(transformer, name), std=0.02)
        return ZImagePipeline(
            scheduler=euler(),
            vae=tiny.vae(4),
            text_encoder=tiny_text.qwen3(),
            tokenizer=tiny_text.words_tokenizer(),
            transformer=transformer.eval(),
        )


def aura_flow() -> AuraFlowPipeline:
    with seeded(0):
        transformer = AuraFlowTransformer2DModel(
            sample_size=16,
            num_mmdit_layers=1,
            num_single_dit_layers=1,
            attention_head_dim=8,
            num_attention_heads=4,
            joint_attention_dim=WIDTH,
            caption_projection_dim=32,
            pos_embed_max_size=256,
        )
        return AuraFlowPipeline(
            tokenizer=tiny.t5_tokenizer(),
            text_encoder=tiny_text.umt5(),
            vae=tiny.vae(4),
            transformer=transformer.eval(),
            scheduler=euler(),
        )


def lumina2() -> Lumina2Pipeline:
    with seeded(0):
        transformer = Lumina2Transformer2DModel(
            sample_size=16,
            in_channels=4,
            hidden_size=32,
            num_layers=1,
            num_refiner_layers=1,
            num_attention_heads=2,
            num_kv_heads=1,
            multiple_of=16,
            axes_dim_rope=(4, 6, 6),
            axes_lens=(300, 32, 32),
            cap_feat_dim=WIDTH,
        )
        return Lumina2Pipeline(
            transformer=transformer.eval(),
            scheduler=euler(dynamic=True),
            vae=tiny.vae(4),
            text_encoder=tiny_text.gemma(),
            tokenizer=tiny_text.words_tokenizer(),
        )


def cogview4(pipeline: Any = CogView4Pipeline, in_channels: int = 4) -> Any:
    with seeded(0):
        transformer = CogView4Transformer2DModel(
            in_channels=in_channels,
            out_channels=4,
            num_layers=1,
            attention_head_dim=16,
            num_attention_heads=2,
            text_embed_dim=WIDTH,
            time_embed_dim=16,
            condition_dim=8,
            sample_size=16,
            rope_axes_dim=(16, 16),
        )
        return pipeline(
            tokenizer=tiny_text.words_tokenizer(),
            text_encoder=tiny_text.glm(),
            vae=tiny.vae(4),
            transformer=transformer.eval(),
            scheduler=euler(dynamic=True),
        )


def cogview4_control() -> CogView4ControlPipeline:
    return cogview4(CogView4ControlPipeline, in_channels=8)


def ovis() -> OvisImagePipeline:
    with seeded(0):
        transformer = OvisImageTransformer2DModel(
            in_channels=16,
            num_layers=1,
            num_single_layers=1,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=WIDTH,
            axes_dims_rope=(4, 4, 8),
            out_channels=16,
        )
        pipe = OvisImagePipeline(
            scheduler=euler(dynamic=True),
            vae=tiny.vae(4),
            text_encoder=tiny_text.qwen3(),
            tokenizer=tiny_text.words_tokenizer(),
            transformer=transformer.eval(),
        )
    pipe.user_prompt_begin_id = 4
    return pipe


def hunyuan_image(guider: Any = None) -> HunyuanImagePipeline:
    with seeded(0):
        transformer = HunyuanImageTransformer2DModel(
            in_channels=4,
            out_channels=4,
            num_attention_heads=2,
            attention_head_dim=16,
            num_layers=1,
            num_single_layers=1,
            num_refiner_layers=1,
            text_embed_dim=WIDTH,
            text_embed_2_dim=32,
            rope_axes_dim=(8, 8),
        )
        vae = AutoencoderKLHunyuanImage(
            in_channels=3,
            out_channels=3,
            latent_channels=4,
            block_out_channels=(32, 32, 32, 32),
            layers_per_block=1,
            spatial_compression_ratio=8,
            sample_size=64,
            scaling_factor=0.75,
        )
        pipe = HunyuanImagePipeline(
            scheduler=euler(),
            vae=vae.eval(),
            text_encoder=tiny_text.qwen_vl(),
            tokenizer=tiny_text.words_tokenizer(),
            text_encoder_2=tiny.t5(),
            tokenizer_2=tiny.t5_tokenizer(),
            transformer=transformer.eval(),
            guider=guider or ClassifierFreeGuidance(guidance_scale=3.0),
        )
    pipe.prompt_template_encode_start_idx, pipe.tokenizer_max_length = 4, 28
    return pipe


def hunyuan_image_projected() -> HunyuanImagePipeline:
    return hunyuan_image(AdaptiveProjectedMixGuidance(adaptive_projected_guidance_start_step=2))


def hidream() -> HiDreamImagePipeline:
    with seeded(0):
        transformer = HiDreamImageTransformer2DModel(
            patch_size=2,
            in_channels=4,
            out_channels=4,
            num_layers=1,
            num_single_layers=1,
            attention_head_dim=8,
            num_attention_heads=4,
            caption_channels=[32, 32],
            text_emb_dim=64,
            num_routed_experts=4,
            num_activated_experts=2,
            axes_dims_rope=(4, 2, 2),
            max_resolution=(32, 32),
            llama_layers=[0, 1],
            force_inference_output=True,
        )
        pipe = HiDreamImagePipeline(
            scheduler=euler(),
            vae=tiny.vae(4),
            text_encoder=tiny.clip(True),
            tokenizer=tiny.clip_tokenizer(),
            text_encoder_2=tiny.clip(True),
            tokenizer_2=tiny.clip_tokenizer(),
            text_encoder_3=tiny.t5(),
            tokenizer_3=tiny.t5_tokenizer(),
            text_encoder_4=tiny_text.llama(),
            tokenizer_4=tiny_text.words_tokenizer(),
            transformer=transformer.eval(),
        )
    pipe.default_sample_size = 8  # every size is scaled to its area: 64 x 64 pixels
    return pipe


def sana() -> SanaPipeline:
    with seeded(0):
        transformer = SanaTransformer2DModel(
            in_channels=4,
            out_channels=4,
            num_layers=1,
            num_attention_heads=2,
            attention_head_dim=4,
            num_cross_attention_heads=2,
            cross_attention_head_dim=4,
            cross_attention_dim=8,
            caption_channels=WIDTH,
            sample_size=32,
        )
        vae = AutoencoderDC(
            latent_channels=4,
            attention_head_dim=2,
            encoder_block_types=("ResBlock", "EfficientViTBlock"),
            decoder_block_types=("ResBlock", "EfficientViTBlock"),
            encoder_block_out_channels=(8, 8),
            decoder_block_out_channels=(8, 8),
            encoder_qkv_multiscales=((), (5,)),
            decoder_qkv_multiscales=((), (5,)),
            encoder_layers_per_block=(1, 1),
            decoder_layers_per_block=[1, 1],
            downsample_block_type="conv",
            upsample_block_type="interpolate",
            decoder_norm_types="rms_norm",
            decoder_act_fns="silu",
            scaling_factor=0.41407,
        )
        return SanaPipeline(
            tokenizer=tiny_text.words_tokenizer(),
            text_encoder=tiny_text.gemma(),
            vae=vae.eval(),
            transformer=transformer.eval(),
            scheduler=euler(),
        )


def pixart_sigma() -> PixArtSigmaPipeline:
    """Predicts noise, not velocity: a diffusion model, with the solver it is published with."""
    with seeded(0):
        transformer = PixArtTransformer2DModel(
            num_attention_heads=2,
            attention_head_dim=8,
            out_channels=8,
            num_layers=1,
            cross_attention_dim=16,
            caption_channels=WIDTH,
            sample_size=16,
            use_additional_conditions=False,
        )
        return PixArtSigmaPipeline(
            tokenizer=tiny.t5_tokenizer(),
            text_encoder=tiny.t5(),
            vae=tiny.vae(4),
            transformer=transformer.eval(),
            scheduler=DPMSolverMultistepScheduler(),
        )
