"""A Stable Diffusion 1.x, an SDXL and a Flux of random weights, a second a picture, made of Forge's own parts.

Runs in Forge's interpreter, after `initialize_forge()`.
"""

import os

import torch
from small_weights import randomise

FLAGS = ["--skip-torch-cuda-test", "--always-cpu", "--skip-version-check", "--no-hashing"]
UNET = {
    "in_channels": 4,
    "out_channels": 4,
    "model_channels": 32,
    "num_res_blocks": [1, 1],
    "channel_mult": [1, 2],
    "transformer_depth": [1, 1],
    "transformer_depth_output": [1, 1, 1, 1],
    "transformer_depth_middle": 1,
    "context_dim": 768,
    "num_heads": 4,
    "use_spatial_transformer": True,
    "use_linear_in_transformer": False,
    "num_classes": None,
    "adm_in_channels": None,
}


def small_engine():
    """Forge's StableDiffusion engine with a text encoder of one layer, a UNet of two levels and a small decoder."""
    from backend import memory_management
    from backend.diffusion_engine.sd15 import StableDiffusion
    from backend.nn.clip import IntegratedCLIP
    from backend.nn.unet import IntegratedUNet2DConditionModel
    from backend.nn.vae import IntegratedAutoencoderKL
    from diffusers import EulerDiscreteScheduler
    from huggingface_guess import model_list
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    folder = os.path.join("backend", "huggingface", "runwayml", "stable-diffusion-v1-5")
    torch.manual_seed(0)
    on_cpu = {"device": torch.device("cpu"), "dtype": torch.float32}
    text = CLIPTextConfig.from_pretrained(os.path.join(folder, "text_encoder"))
    text.num_hidden_layers = 1
    vae = dict(IntegratedAutoencoderKL.load_config(os.path.join(folder, "vae")))
    vae |= {"block_out_channels": [32, 32, 32, 32], "layers_per_block": 1}
    encoder = IntegratedCLIP(CLIPTextModel, text, add_text_projection=True).to(**on_cpu)
    decoder = IntegratedAutoencoderKL.from_config(vae)
    unet = IntegratedUNet2DConditionModel.from_config(dict(UNET)).to(**on_cpu)
    for module in (encoder, decoder, unet):
        randomise(module)
    unet._internal_dict = dict(UNET)
    unet.storage_dtype = unet.computation_dtype = torch.float32
    unet.load_device = unet.initial_device = unet.offload_device = memory_management.cpu
    parts = {
        "unet": unet,
        "vae": decoder,
        "text_encoder": encoder,
        "tokenizer": CLIPTokenizer.from_pretrained(os.path.join(folder, "tokenizer")),
        "scheduler": EulerDiscreteScheduler.from_pretrained(os.path.join(folder, "scheduler")),
    }
    return StableDiffusion(model_list.SD15(dict(UNET)), parts)


def small_sdxl():
    """Forge's SDXL engine: the size of the picture is part of its conditions."""
    from backend import memory_management
    from backend.diffusion_engine.sdxl import StableDiffusionXL
    from backend.nn.clip import IntegratedCLIP
    from backend.nn.unet import IntegratedUNet2DConditionModel
    from backend.nn.vae import IntegratedAutoencoderKL
    from diffusers import EulerDiscreteScheduler
    from huggingface_guess import model_list
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    folder = os.path.join("backend", "huggingface", "stabilityai", "stable-diffusion-xl-base-1.0")
    torch.manual_seed(0)
    parts = {"scheduler": EulerDiscreteScheduler.from_pretrained(os.path.join(folder, "scheduler"))}
    for number in ("", "_2"):
        text = CLIPTextConfig.from_pretrained(os.path.join(folder, f"text_encoder{number}"))
        text.num_hidden_layers = 2  # the last but one is read
        parts[f"text_encoder{number}"] = IntegratedCLIP(CLIPTextModel, text, add_text_projection=True).float()
        parts[f"tokenizer{number}"] = CLIPTokenizer.from_pretrained(os.path.join(folder, f"tokenizer{number}"))
    vae = dict(IntegratedAutoencoderKL.load_config(os.path.join(folder, "vae")))
    vae |= {"block_out_channels": [32, 32, 32, 32], "layers_per_block": 1}
    parts["vae"] = IntegratedAutoencoderKL.from_config(vae)
    config = UNET | {"context_dim": 2048, "num_classes": "sequential", "adm_in_channels": 2816}
    config |= {"use_linear_in_transformer": True}
    unet = parts["unet"] = IntegratedUNet2DConditionModel.from_config(dict(config)).float()
    for part in parts.values():
        if isinstance(part, torch.nn.Module):
            randomise(part)
    unet._internal_dict = config
    unet.storage_dtype = unet.computation_dtype = torch.float32
    unet.load_device = unet.initial_device = unet.offload_device = memory_management.cpu
    return StableDiffusionXL(model_list.SDXL(dict(config)), parts)


FLUX = {
    "in_channels": 16,
    "vec_in_dim": 768,
    "context_in_dim": 64,
    "hidden_size": 64,
    "mlp_ratio": 2.0,
    "num_heads": 2,
    "depth": 1,
    "depth_single_blocks": 1,
    "axes_dim": [8, 12, 12],
    "theta": 10000,
    "qkv_bias": True,
    "guidance_embed": True,
}


def small_flux():
    """Forge's Flux engine: one double and one single block, text encoders of one layer, a decoder of 16 channels."""
    from backend import memory_management
    from backend.diffusion_engine.flux import Flux
    from backend.nn.clip import IntegratedCLIP
    from backend.nn.flux import IntegratedFluxTransformer2DModel
    from backend.nn.t5 import IntegratedT5
    from backend.nn.vae import IntegratedAutoencoderKL
    from backend.utils import read_arbitrary_config
    from huggingface_guess import model_list
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer, T5TokenizerFast

    folder = os.path.join("backend", "huggingface", "black-forest-labs", "FLUX.1-dev")
    torch.manual_seed(0)
    text = CLIPTextConfig.from_pretrained(os.path.join(folder, "text_encoder"))
    text.num_hidden_layers = 1
    long = read_arbitrary_config(os.path.join(folder, "text_encoder_2"))
    long |= {"num_layers": 1, "d_model": 64, "d_ff": 64, "num_heads": 4, "d_kv": 16}
    vae = dict(IntegratedAutoencoderKL.load_config(os.path.join(folder, "vae")))
    vae |= {"block_out_channels": [32, 32, 32, 32], "layers_per_block": 1}
    transformer = IntegratedFluxTransformer2DModel(**FLUX)
    parts = {
        "transformer": transformer,
        "vae": IntegratedAutoencoderKL.from_config(vae),
        "text_encoder": IntegratedCLIP(CLIPTextModel, text, add_text_projection=True),
        "text_encoder_2": IntegratedT5(long),
        "tokenizer": CLIPTokenizer.from_pretrained(os.path.join(folder, "tokenizer")),
        "tokenizer_2": T5TokenizerFast.from_pretrained(os.path.join(folder, "tokenizer_2")),
    }
    for part in parts.values():
        if isinstance(part, torch.nn.Module):
            randomise(part.float())
    transformer.config = dict(FLUX)
    transformer.storage_dtype = transformer.computation_dtype = torch.float32
    transformer.load_device = transformer.initial_device = transformer.offload_device = memory_management.cpu
    return Flux(model_list.Flux(dict(FLUX)), parts)


def install(engine=small_engine):
    """From now on, whatever checkpoint Forge loads is `engine()`; one that is loaded is loaded anew."""
    from modules import sd_models

    sd_models.forge_loader = lambda *_, **__: engine()
    sd_models.model_data.forge_hash = ""
