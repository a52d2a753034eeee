"""A Stable Diffusion 1.x and an SDXL of random weights, a second a picture, as checkpoints that A1111 loads like any.

Runs in A1111's interpreter, after its `initialize.imports()`.
"""

import json
import os
from pathlib import Path

import torch
from small_weights import randomise

FLAGS = ["--skip-torch-cuda-test", "--use-cpu", "all", "--no-half", "--skip-version-check", "--no-hashing"]
FLAGS += ["--do-not-download-clip", "--no-download-sd-model", "--disable-nan-check"]
WIDTH = 64  # of the first text encoder
SECOND, SECOND_WIDTH = "ViT-S-16-alt", 256  # the smallest of open_clip
UNET = {"model_channels": 32, "attention_resolutions": [1, 2], "num_res_blocks": 1, "channel_mult": [1, 2]}
XL = os.path.join("repositories", "generative-models", "configs", "inference", "sd_xl_base.yaml")


def small_engine(text):
    """The configuration that A1111 ships for Stable Diffusion 1.x, made small; `text`: the text encoder's folder."""
    from omegaconf import OmegaConf

    config = OmegaConf.load(os.path.join("configs", "v1-inference.yaml"))
    model = config.model.params
    model.scheduler_config = None
    model.unet_config.params.update(UNET | {"num_heads": 4, "context_dim": WIDTH})
    _small_decoder(model)
    model.cond_stage_config.params = {"version": str(text), "device": "cpu"}
    return config


def small_sdxl(text):
    """That for SDXL: two text encoders, and the size of the picture among the conditions."""
    from omegaconf import OmegaConf

    config = OmegaConf.load(XL)
    model = config.model.params
    size = {"context_dim": WIDTH + SECOND_WIDTH, "adm_in_channels": SECOND_WIDTH + 6 * 256}
    model.network_config.params.update(UNET | size | {"num_head_channels": 16, "transformer_depth": [1, 1]})
    _small_decoder(model)
    first, second, *_ = model.conditioner_config.params.emb_models
    first.params.update({"version": str(text), "device": "cpu", "layer_idx": 1})
    second.params.update({"arch": SECOND})
    return config


def write(checkpoint, kind=small_engine):
    """The checkpoint, the configuration that A1111 looks for beside it, and the text encoder's folder."""
    from ldm.util import instantiate_from_config
    from modules.sd_disable_initialization import DisableInitialization
    from omegaconf import OmegaConf
    from safetensors.torch import save_file

    checkpoint = Path(checkpoint)
    text = checkpoint.with_suffix(".clip")
    _write_text_encoder(text)
    config = kind(text)
    OmegaConf.save(config, checkpoint.with_suffix(".yaml"))
    torch.manual_seed(0)
    with DisableInitialization():
        model = instantiate_from_config(config.model)
    randomise(model)
    save_file({k: v.clone().contiguous() for k, v in model.state_dict().items()}, str(checkpoint))


def install(checkpoint, kind=small_engine):
    """From now on, A1111 works with `kind`, written to `checkpoint` and loaded from there."""
    from modules import sd_models, shared

    write(checkpoint, kind)
    info = sd_models.CheckpointInfo(str(checkpoint))
    info.register()
    shared.opts.data["sd_model_checkpoint"] = info.title
    sd_models.reload_model_weights(info=info)


def _small_decoder(model):
    model.first_stage_config.params.ddconfig.update({"ch": 32, "ch_mult": [1, 1, 1, 1], "num_res_blocks": 1})


def _write_text_encoder(folder):
    """What CLIP's tokenizer and an empty text model are made from: the vocabulary comes with the package `clip`."""
    from clip.simple_tokenizer import SimpleTokenizer
    from transformers import CLIPTextConfig

    folder.mkdir(exist_ok=True)
    words = SimpleTokenizer()
    (folder / "vocab.json").write_text(json.dumps(words.encoder), encoding="utf-8")
    merges = "\n".join(" ".join(pair) for pair in words.bpe_ranks)
    (folder / "merges.txt").write_text(f"#version: 0.2\n{merges}\n", encoding="utf-8")
    config = CLIPTextConfig(
        vocab_size=len(words.encoder),
        hidden_size=WIDTH,
        intermediate_size=WIDTH,
        num_hidden_layers=2,
        num_attention_heads=4,
    )
    config.save_pretrained(folder)
