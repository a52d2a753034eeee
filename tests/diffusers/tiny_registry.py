"""Every pipeline under test, with the arguments of its plain call."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import PIL.Image
import torch

from . import tiny, tiny_flux, tiny_images, tiny_video
from .tiny_text import WIDTH

PROMPT = "a fox and a balloon"
EMBEDS = ("prompt_embeds", "negative_prompt_embeds")
SIZE = {"height": 64, "width": 96, "num_inference_steps": 6}
SHORT = SIZE | {"max_sequence_length": 16}
CFG = {"guidance_scale": 3.0, "negative_prompt": "not"}


def picture(width: int = 96, height: int = 64) -> PIL.Image.Image:
    """Something to edit, or to be controlled by."""
    y, x = np.mgrid[:height, :width]
    return PIL.Image.fromarray(np.stack([x * 2, y * 3, (x + y) % 256], -1).astype(np.uint8))


@dataclass(frozen=True)
class Variant:
    """A tiny pipeline and a plain call of it.

    Attributes:
        images: arguments that take a picture. embedded: give embeddings, no prompt (reading one would need ftfy).
    """

    build: Callable[[], Any]
    call: Mapping[str, Any]
    images: tuple[str, ...] = field(default=())
    embedded: bool = False

    def arguments(self) -> dict[str, Any]:
        call = {**self.call, **{name: picture() for name in self.images}}
        if not self.embedded:
            return {"prompt": PROMPT, **call}
        generator = torch.Generator().manual_seed(7)
        embeds = {k: torch.randn(1, 16, WIDTH, generator=generator) for k in EMBEDS}
        return {k: v for k, v in call.items() if k != "negative_prompt"} | embeds


VIDEO = SHORT | CFG | {"num_frames": 5}
LAYERS = {"text_encoder_out_layers": (1, 2)}

VARIANTS = {
    "FluxPipeline": Variant(tiny.tiny_flux, SHORT | {"true_cfg_scale": 3.0, "negative_prompt": "not"}),
    "FluxControlPipeline": Variant(tiny_flux.control, SHORT, ("control_image",)),
    "FluxControlNetPipeline": Variant(tiny_flux.controlnet, SHORT, ("control_image",)),
    "FluxKontextPipeline": Variant(tiny_flux.kontext, SHORT | {"max_area": 64 * 96, "_auto_resize": False}, ("image",)),
    "Flux2Pipeline": Variant(tiny_flux.flux2, SHORT | LAYERS),
    "Flux2Pipeline, image": Variant(tiny_flux.flux2, SHORT | LAYERS, ("image",)),
    "Flux2KleinPipeline": Variant(tiny_flux.flux2_klein, SHORT | LAYERS | {"guidance_scale": 3.0}),
    "ChromaPipeline": Variant(tiny_flux.chroma, SHORT | CFG),
    "StableDiffusion3Pipeline": Variant(tiny.tiny_sd3, SHORT | CFG),
    "StableDiffusion3ControlNetPipeline": Variant(tiny_images.sd3_controlnet, SHORT | CFG, ("control_image",)),
    "QwenImagePipeline": Variant(tiny_images.qwen_image, SHORT | {"true_cfg_scale": 3.0, "negative_prompt": "not"}),
    "ZImagePipeline": Variant(tiny_images.z_image, SHORT | CFG),
    "AuraFlowPipeline": Variant(tiny_images.aura_flow, SHORT | CFG),
    "Lumina2Pipeline": Variant(tiny_images.lumina2, SHORT | CFG),
    "CogView4Pipeline": Variant(tiny_images.cogview4, SHORT | CFG),
    "CogView4ControlPipeline": Variant(tiny_images.cogview4_control, SHORT | CFG, ("control_image",)),
    "OvisImagePipeline": Variant(tiny_images.ovis, SHORT | CFG),
    "HunyuanImagePipeline, CFG": Variant(tiny_images.hunyuan_image, SIZE | {"negative_prompt": "not"}),
    "HunyuanImagePipeline, APG": Variant(tiny_images.hunyuan_image_projected, SIZE | {"negative_prompt": "not"}),
    "HiDreamImagePipeline": Variant(tiny_images.hidream, SHORT | CFG | {"width": 64}),
    "SanaPipeline": Variant(
        tiny_images.sana,
        SHORT | CFG | {"width": 64, "use_resolution_binning": False, "complex_human_instruction": None},
    ),
    "PixArtSigmaPipeline": Variant(tiny_images.pixart_sigma, SHORT | CFG | {"use_resolution_binning": False}),
    "WanPipeline, 2.1": Variant(tiny_video.wan, VIDEO),
    "WanPipeline, 2.2 with two models": Variant(tiny_video.wan_two, VIDEO),
    "WanPipeline, 2.2 with per-token times": Variant(tiny_video.wan_per_token, VIDEO),
    "WanImageToVideoPipeline": Variant(tiny_video.wan_from_image, VIDEO, ("image",), embedded=True),
    "SkyReelsV2Pipeline": Variant(tiny_video.sky_reels, VIDEO, embedded=True),
    "HunyuanVideoPipeline": Variant(
        tiny_video.hunyuan_video,
        SHORT | {"num_frames": 5, "prompt_template": {"template": "{}", "crop_start": 0}},
    ),
    "LTXPipeline": Variant(tiny_video.ltx, VIDEO | {"num_frames": 9, "width": 64}),
    "Kandinsky5T2IPipeline": Variant(tiny_video.kandinsky_image, SHORT | CFG),
    "Kandinsky5T2VPipeline": Variant(tiny_video.kandinsky_video, VIDEO),
}
