"""The nodes *Preview Sampler*, *Transform Sampler* and *Contact Sheet*, and their list for ComfyUI's loader."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from comfy_api.latest import ComfyExtension, io

from ...commutator.plan import DEFAULT_SAMPLER_PRESET, SAMPLER_PRESETS
from ..pictures import INK
from ..plans import chosen_plan
from ..sheets.contact_sheet import PAPER
from .preview import CELL, preview
from .refusals import require_sampler
from .transform import FLIPS, pixel_operator, transforming

GAP, CAPTION, FONT = 12, 28, 18  # pixels


class PreviewSampler(io.ComfyNode):
    """Previews a run of SamplerCustomAdvanced, and outputs the sampler that finishes it."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="CommutantPreviewSampler",
            display_name="Preview Sampler (commutant)",
            category="sampling/commutant",
            description="A small preview that looks like the full-size image of the same seed, and a sampler that "
            "finishes it: give that to SamplerCustomAdvanced with the same noise, guider, sigmas and latent image.",
            inputs=[
                io.Noise.Input("noise"),
                io.Guider.Input("guider"),
                io.Sampler.Input("sampler"),
                io.Sigmas.Input("sigmas"),
                io.Latent.Input("latent_image"),
                io.Combo.Input("preset", options=list(SAMPLER_PRESETS), default=DEFAULT_SAMPLER_PRESET),
                io.Int.Input("scale", default=2, min=2, max=8, tooltip="Full size over preview size."),
                io.Int.Input("switch", default=-1, min=-1, max=1000, tooltip="Full-size steps before the preview "
                             "leaves for low resolution; -1: as the preset says."),
                io.Int.Input("tail", default=-1, min=-1, max=1000, tooltip="Low-resolution steps; 0: one for every "
                             "remaining step (SDE samplers need that); -1: as the preset says."),
            ],
            outputs=[
                io.Latent.Output(display_name="preview"),
                io.Sampler.Output(display_name="finish"),
            ],
        )  # fmt: skip

    @classmethod
    def execute(
        cls,
        noise: Any,
        guider: Any,
        sampler: Any,
        sigmas: Any,
        latent_image: Any,
        preset: str,
        scale: int,
        switch: int,
        tail: int,
    ) -> io.NodeOutput:
        plan = chosen_plan(
            len(sigmas) - 1, preset, scale, head=None if switch < 0 else switch, tail=None if tail < 0 else tail
        )
        return io.NodeOutput(*preview(noise, guider, sampler, sigmas, latent_image, plan))


class TransformSampler(io.ComfyNode):
    """A sampler that transforms the image: for SamplerCustomAdvanced, in place of the sampler that made it."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="CommutantTransformSampler",
            display_name="Transform Sampler (commutant)",
            category="sampling/commutant",
            description="The image of the same seed, transformed while it forms: new content is the model's "
            "own. For SamplerCustomAdvanced, in place of the sampler that made the image. Flips first, then zooms, "
            "turns and moves.",
            inputs=[
                io.Sampler.Input("sampler"),
                io.Int.Input("right", default=0, min=-8192, max=8192, step=CELL, tooltip="Pixels; negative: left."),
                io.Int.Input("down", default=0, min=-8192, max=8192, step=CELL, tooltip="Pixels; negative: up."),
                io.Float.Input("rotate", default=0.0, min=-360.0, max=360.0, step=0.5, tooltip="Degrees, "
                               "counter-clockwise, about the centre."),
                io.Float.Input("zoom", default=1.0, min=0.1, max=10.0, step=0.05, tooltip="About the centre; above 1 "
                               "magnifies."),
                io.Combo.Input("flip", options=list(FLIPS), default="none"),
                io.Int.Input("at", default=-1, min=-1, max=1000, tooltip="The step at which the image is transformed. "
                             "Early: more new content; late: closer to the moved picture; -1: 2/5 of the steps."),
                io.Int.Input("seed", default=0, min=0, max=2**64 - 1, control_after_generate=True, tooltip="Of what "
                             "comes into view."),
            ],
            outputs=[io.Sampler.Output(display_name="sampler")],
        )  # fmt: skip

    @classmethod
    def execute(
        cls, sampler: Any, right: int, down: int, rotate: float, zoom: float, flip: str, at: int, seed: int
    ) -> io.NodeOutput:
        require_sampler(sampler)
        operator = pixel_operator(right, down, rotate, zoom, flip).on_cells(CELL)
        return io.NodeOutput(transforming(sampler, operator, None if at < 0 else at, seed))


class ContactSheet(io.ComfyNode):
    """Numbers count from 0, as the batch index of *Latent From Batch* does."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="CommutantContactSheet",
            display_name="Contact Sheet (commutant)",
            category="sampling/commutant",
            description="All images of a batch on one picture, numbered from 0.",
            inputs=[
                io.Image.Input("images"),
                io.Int.Input("columns", default=0, min=0, max=64, tooltip="0: about as wide as high."),
                io.String.Input("labels", default="", multiline=True, tooltip="One line for each image, or nothing."),
            ],
            outputs=[io.Image.Output(display_name="sheet")],
        )

    @classmethod
    def execute(cls, images: Any, columns: int, labels: str) -> io.NodeOutput:
        return io.NodeOutput(sheet(images, columns, labels.splitlines()))


class CommutantExtension(ComfyExtension):
    """All nodes."""

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return [PreviewSampler, TransformSampler, ContactSheet]


def sheet(images: torch.Tensor, columns: int, labels: list[str]) -> torch.Tensor:
    """All images (batch, height, width, 3), in [0, 1], on one picture (1, H, W, 3).

    Raises ValueError where there are labels, but not one for each image.
    """
    from PIL import Image, ImageDraw, ImageFont

    count, height, width = images.shape[:3]
    if labels and len(labels) != count:
        raise ValueError(f"got {len(labels)} labels for {count} images: give one line for each, or none")
    across = min(count, columns or math.ceil(math.sqrt(count)))
    rows = math.ceil(count / across)
    size = (across * (width + GAP) + GAP, rows * (height + CAPTION + GAP) + GAP)
    picture = Image.new("RGB", size, PAPER)
    draw = ImageDraw.Draw(picture)
    font = ImageFont.load_default(FONT)
    for i, pixels in enumerate((images.cpu().float().clamp(0, 1) * 255).round().to(torch.uint8).numpy()):
        row, column = divmod(i, across)
        x, y = GAP + column * (width + GAP), GAP + row * (height + CAPTION + GAP)
        picture.paste(Image.fromarray(pixels[..., :3]), (x, y))
        draw.text((x, y + height + 4), f"{i}  {labels[i]}" if labels else str(i), fill=INK, font=font)
    return torch.from_numpy(np.asarray(picture).astype(np.float32) / 255.0)[None]
