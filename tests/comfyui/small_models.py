"""Tiny random models in ComfyUI's own classes, float32, on the CPU."""

from functools import partial

import torch


def sd15():
    """A model of Stable Diffusion 1.5's class with one small block, random, float32."""
    import comfy.model_base
    import comfy.supported_models

    return _patcher(comfy.supported_models.SD15(_unet()), comfy.model_base.BaseModel)


def control():
    """A ControlNet for `sd15()`, random, with a hint of three channels."""
    import comfy.cldm.cldm
    import comfy.controlnet

    config = {key: value for key, value in _unet().items() if key not in ("out_channels", "dtype")}
    net = _random(comfy.cldm.cldm.ControlNet(hint_channels=3, dtype=torch.float32, **config))
    return comfy.controlnet.ControlNet(net, load_device=torch.device("cpu"))


def _unet():
    return {
        "image_size": 32,
        "in_channels": 4,
        "out_channels": 4,
        "model_channels": 32,
        "num_res_blocks": [1, 1],
        "channel_mult": [1, 2],
        "num_heads": 4,
        "num_head_channels": -1,
        "use_spatial_transformer": True,
        "transformer_depth": [1, 1],
        "transformer_depth_output": [1, 1, 1, 1],
        "transformer_depth_middle": 1,
        "context_dim": 32,
        "use_linear_in_transformer": False,
        "adm_in_channels": None,
        "use_temporal_attention": False,
        "dtype": torch.float32,
    }


def flux():
    """A model of FLUX's class with one block of each kind, random, float32."""
    import comfy.model_base
    import comfy.supported_models

    config = {
        "image_model": "flux",
        "in_channels": 16,
        "out_channels": 16,
        "patch_size": 2,
        "vec_in_dim": 16,
        "context_in_dim": 32,
        "hidden_size": 64,
        "mlp_ratio": 2.0,
        "num_heads": 2,
        "depth": 1,
        "depth_single_blocks": 1,
        "axes_dim": [8, 12, 12],
        "theta": 10000,
        "qkv_bias": True,
        "guidance_embed": False,
        "dtype": torch.float32,
    }
    return _patcher(comfy.supported_models.Flux(config), comfy.model_base.Flux)


def _patcher(config, kind):
    from comfy.model_patcher import ModelPatcher

    config.set_inference_dtype(torch.float32, None)
    return ModelPatcher(_random(kind(config, device="cpu")), torch.device("cpu"), torch.device("cpu"))


def _random(model):
    torch.manual_seed(1)
    for parameter in model.parameters():
        with torch.no_grad():
            parameter.copy_(torch.randn_like(parameter) * (0.1 if parameter.ndim > 1 else 0.02))
    return model


def sdxl():
    """A model of SDXL's class: as `sd15()`, and told the pooled text (width 16), the size, the crop and the target."""
    import comfy.model_base
    import comfy.supported_models

    # SDXL has heads of 64 channels.
    config = _unet() | {"model_channels": 64, "adm_in_channels": 16 + 6 * 256, "num_classes": "sequential"}
    return _patcher(comfy.supported_models.SDXL(config), comfy.model_base.SDXL)


def sd3():
    """A model of SD3's class with one block, random, float32."""
    import comfy.model_base
    import comfy.supported_models

    config = {
        "input_size": None,
        "patch_size": 2,
        "in_channels": 16,
        "depth": 1,
        "adm_in_channels": 16,
        "context_size": 32,
        "context_embedder_config": {"target": "torch.nn.Linear", "params": {"in_features": 32, "out_features": 64}},
        "pos_embed_max_size": 32,
        "num_patches": 32 * 32,
        "qk_norm": "rms",
        "dtype": torch.float32,
    }
    made = _patcher(comfy.supported_models.SD3(config | {"pos_embed_scaling_factor": None}), comfy.model_base.SD3)
    made.model.diffusion_model.pos_embed.normal_()  # no parameter, and not filled otherwise
    return made


def wan(kind="t2v"):
    """A video model of WAN 2.1's class with one block; "i2v": one that is given a picture to begin from."""
    import comfy.model_base
    import comfy.supported_models

    config = {
        "image_model": "wan2.1",
        "model_type": kind,
        "in_dim": 16 if kind == "t2v" else 36,
        "dim": 48,
        "ffn_dim": 64,
        "freq_dim": 32,
        "text_dim": 32,
        "out_dim": 16,
        "num_heads": 2,
        "num_layers": 1,
        "dtype": torch.float32,
    }
    if kind == "t2v":
        return _patcher(comfy.supported_models.WAN21_T2V(config), comfy.model_base.WAN21)
    return _patcher(comfy.supported_models.WAN21_I2V(config), partial(comfy.model_base.WAN21, image_to_video=True))


def ltxv():
    """A video model of LTX-Video's class with one block, random, float32."""
    import comfy.model_base
    import comfy.supported_models

    config = {
        "image_model": "ltxv",
        "in_channels": 128,
        "cross_attention_dim": 32,
        "attention_head_dim": 16,
        "num_attention_heads": 2,
        "caption_channels": 32,
        "num_layers": 1,
        "dtype": torch.float32,
    }
    return _patcher(comfy.supported_models.LTXV(config), comfy.model_base.LTXV)


def hunyuan_video():
    """A video model of HunyuanVideo's class with one block of each kind, random, float32."""
    import comfy.model_base
    import comfy.supported_models

    config = {
        "image_model": "hunyuan_video",
        "in_channels": 16,
        "out_channels": 16,
        "vec_in_dim": 16,
        "context_in_dim": 32,
        "hidden_size": 64,
        "mlp_ratio": 2.0,
        "num_heads": 2,
        "depth": 1,
        "depth_single_blocks": 1,
        "axes_dim": [8, 12, 12],
        "theta": 256,
        "patch_size": [1, 2, 2],
        "qkv_bias": True,
        "guidance_embed": True,
        "byt5": False,
        "meanflow": False,
        "use_cond_type_embedding": False,
        "vision_in_dim": None,
        "dtype": torch.float32,
    }
    return _patcher(comfy.supported_models.HunyuanVideo(config), comfy.model_base.HunyuanVideo)
