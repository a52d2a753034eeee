"""Video pipelines, and Kandinsky 5, whose image model is a video model of one frame; tiny."""

from __future__ import annotations

from diffusers import (
    AutoencoderKLHunyuanVideo,
    AutoencoderKLLTXVideo,
    AutoencoderKLWan,
    HunyuanVideoPipeline,
    HunyuanVideoTransformer3DModel,
    Kandinsky5T2IPipeline,
    Kandinsky5T2VPipeline,
    Kandinsky5Transformer3DModel,
    LTXPipeline,
    LTXVideoTransformer3DModel,
    SkyReelsV2Pipeline,
    SkyReelsV2Transformer3DModel,
    WanImageToVideoPipeline,
    WanPipeline,
    WanTransformer3DModel,
)

from . import tiny, tiny_text
from .tiny import euler
from .tiny_images import statistics
from .tiny_text import WIDTH, seeded


def _wan_vae() -> AutoencoderKLWan:
    return AutoencoderKLWan(base_dim=4, z_dim=4, dim_mult=[1, 1, 1, 1], num_res_blocks=1, **statistics()).eval()


def _wan_transformer(in_channels: int = 4) -> WanTransformer3DModel:
    return WanTransformer3DModel(
        num_attention_heads=2,
        attention_head_dim=12,
        in_channels=in_channels,
        out_channels=4,
        text_dim=WIDTH,
        freq_dim=16,
        ffn_dim=16,
        num_layers=1,
        rope_max_seq_len=32,
    ).eval()


def wan(two: bool = False, per_token: bool = False) -> WanPipeline:
    """Wan 2.1; with `two`, the pair of models of Wan 2.2; with `per_token`, a time for each token as its 5B model."""
    with seeded(0):
        return WanPipeline(
            tokenizer=tiny.t5_tokenizer(),
            text_encoder=tiny_text.umt5(),
            vae=_wan_vae(),
            scheduler=euler(),
            transformer=_wan_transformer(),
            transformer_2=_wan_transformer() if two else None,
            boundary_ratio=0.7 if two else None,
            expand_timesteps=per_token,
        )


def wan_two() -> WanPipeline:
    return wan(two=True)


def wan_per_token() -> WanPipeline:
    return wan(per_token=True)


def wan_from_image() -> WanImageToVideoPipeline:
    with seeded(0):
        return WanImageToVideoPipeline(
            tokenizer=tiny.t5_tokenizer(),
            text_encoder=tiny_text.umt5(),
            vae=_wan_vae(),
            scheduler=euler(),
            transformer=_wan_transformer(in_channels=4 + 4 + 4),  # latents, a mask of four frames, the picture
        )


def sky_reels() -> SkyReelsV2Pipeline:
    with seeded(0):
        transformer = SkyReelsV2Transformer3DModel(
            num_attention_heads=2,
            attention_head_dim=12,
            in_channels=4,
            out_channels=4,
            text_dim=WIDTH,
            freq_dim=16,
            ffn_dim=16,
            num_layers=1,
            rope_max_seq_len=32,
        )
        return SkyReelsV2Pipeline(
            tokenizer=tiny.t5_tokenizer(),
            text_encoder=tiny_text.umt5(),
            vae=_wan_vae(),
            scheduler=euler(),
            transformer=transformer.eval(),
        )


def _hunyuan_vae() -> AutoencoderKLHunyuanVideo:
    return AutoencoderKLHunyuanVideo(
        latent_channels=4, block_out_channels=(8, 8, 8, 8), layers_per_block=1, norm_num_groups=4
    ).eval()


def hunyuan_video() -> HunyuanVideoPipeline:
    with seeded(0):
        transformer = HunyuanVideoTransformer3DModel(
            in_channels=4,
            out_channels=4,
            num_attention_heads=2,
            attention_head_dim=10,
            num_layers=1,
            num_single_layers=1,
            num_refiner_layers=1,
            guidance_embeds=True,
            text_embed_dim=WIDTH,
            pooled_projection_dim=32,
            rope_axes_dim=(2, 4, 4),
        )
        return HunyuanVideoPipeline(
            text_encoder=tiny_text.llama().model,
            tokenizer=tiny_text.words_tokenizer(),
            transformer=transformer.eval(),
            vae=_hunyuan_vae(),
            scheduler=euler(),
            text_encoder_2=tiny.clip(False),
            tokenizer_2=tiny.clip_tokenizer(),
        )


def ltx() -> LTXPipeline:
    with seeded(0):
        transformer = LTXVideoTransformer3DModel(
            in_channels=8,
            out_channels=8,
            num_attention_heads=2,
            attention_head_dim=8,
            cross_attention_dim=16,
            num_layers=1,
            caption_channels=32,
        )
        vae = AutoencoderKLLTXVideo(
            latent_channels=8,
            block_out_channels=(8, 8, 8, 8),
            decoder_block_out_channels=(8, 8, 8, 8),
            layers_per_block=(1, 1, 1, 1, 1),
            decoder_layers_per_block=(1, 1, 1, 1, 1),
        )
        return LTXPipeline(
            scheduler=euler(dynamic=True),
            vae=vae.eval(),
            text_encoder=tiny.t5(),
            tokenizer=tiny.t5_tokenizer(),
            transformer=transformer.eval(),
        )


def _kandinsky_transformer(visual_cond: bool) -> Kandinsky5Transformer3DModel:
    return Kandinsky5Transformer3DModel(
        in_visual_dim=4,
        out_visual_dim=4,
        in_text_dim=WIDTH,
        in_text_dim2=32,
        time_dim=16,
        model_dim=32,
        ff_dim=16,
        num_text_blocks=1,
        num_visual_blocks=1,
        axes_dims=(4, 6, 6),
        visual_cond=visual_cond,
    ).eval()


def kandinsky_image() -> Kandinsky5T2IPipeline:
    with seeded(0):
        pipe = Kandinsky5T2IPipeline(
            transformer=_kandinsky_transformer(visual_cond=False),
            vae=tiny.vae(4),
            text_encoder=tiny_text.qwen_vl(),
            tokenizer=tiny_text.TextProcessor(),
            text_encoder_2=tiny.clip(False),
            tokenizer_2=tiny.clip_tokenizer(),
            scheduler=euler(),
        )
    pipe.prompt_template_encode_start_idx = 4
    pipe.resolutions = [(96, 64), (64, 64)]
    return pipe


def kandinsky_video() -> Kandinsky5T2VPipeline:
    with seeded(0):
        pipe = Kandinsky5T2VPipeline(
            transformer=_kandinsky_transformer(visual_cond=True),
            vae=_hunyuan_vae(),
            text_encoder=tiny_text.qwen_vl(),
            tokenizer=tiny_text.TextProcessor(),
            text_encoder_2=tiny.clip(False),
            tokenizer_2=tiny.clip_tokenizer(),
            scheduler=euler(),
        )
    pipe.prompt_template_encode_start_idx = 4
    return pipe
