"""`scenes`: the small text-to-image flow model that ships with commutant.

Importing this package imports no framework; `load_scenes` does. What trained the model is in `training/`, which is part
of a checkout and not of an installed wheel.
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .vocabulary import BACKGROUNDS, OBJECTS, WORDS, unknown_words

if TYPE_CHECKING:
    import torch
    from diffusers import FluxPipeline

__all__ = [
    "BACKGROUNDS",
    "OBJECTS",
    "SCENES_CALL_DEFAULTS",
    "WEIGHTS",
    "WORDS",
    "is_scenes",
    "load_scenes",
    "unknown_words",
]

WEIGHTS = Path(__file__).parent / "weights"
"""The pipeline folder (diffusers layout, safetensors in bf16)."""

SCENES_CALL_DEFAULTS: dict[str, Any] = {
    "height": 256,
    "width": 256,
    "num_inference_steps": 30,
    "true_cfg_scale": 3.5,
    "negative_prompt": "",
    "max_sequence_length": 24,
    "guidance_scale": 0.0,  # the transformer has no guidance embedding: without effect
}
"""Arguments that `scenes` was trained for: `pipe(prompt, **SCENES_CALL_DEFAULTS)`."""


def is_scenes(folder: Path) -> bool:
    """Whether a folder holds a saved pipeline of `scenes`, by the autoencoder that its `model_index.json` names."""
    try:
        index = json.loads((folder / "model_index.json").read_text(encoding="utf-8"))
        return bool(index["vae"][1] == "ScenesAutoencoder")
    except (OSError, ValueError, LookupError, TypeError):
        return False


def load_scenes(
    dtype: "torch.dtype | None" = None, device: "str | torch.device" = "cpu", folder: Path = WEIGHTS
) -> "FluxPipeline":
    """The pipeline `scenes`, in `dtype` (default: torch.float32) on `device`.

    Call it with `SCENES_CALL_DEFAULTS`. What its `save_pretrained` writes is loaded by
    `DiffusionPipeline.from_pretrained` once commutant is imported, by `--model FOLDER`, and by `folder` here.

    Raises ImportError without torch, diffusers and transformers, FileNotFoundError if the weights are not installed.
    """
    import torch
    from diffusers import FlowMatchEulerDiscreteScheduler, FluxPipeline, FluxTransformer2DModel
    from transformers import CLIPTextModel, CLIPTokenizer, T5EncoderModel, T5Tokenizer

    from .autoencoder import ScenesAutoencoder

    if not (folder / "model_index.json").exists():
        raise FileNotFoundError(f"the weights of `scenes` are not in {folder}")
    dtype = dtype or torch.float32
    # Part by part: in a folder of nodes the package has another name than the stored autoencoder's module.
    pipeline = FluxPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler.from_pretrained(folder / "scheduler"),
        vae=ScenesAutoencoder.from_pretrained(folder / "vae", torch_dtype=dtype),
        text_encoder=CLIPTextModel.from_pretrained(folder / "text_encoder", dtype=dtype),
        tokenizer=CLIPTokenizer.from_pretrained(folder / "tokenizer"),
        text_encoder_2=T5EncoderModel.from_pretrained(folder / "text_encoder_2", dtype=dtype),
        tokenizer_2=T5Tokenizer.from_pretrained(folder / "tokenizer_2"),
        transformer=FluxTransformer2DModel.from_pretrained(folder / "transformer", torch_dtype=dtype),
    )
    return pipeline.to(device)
