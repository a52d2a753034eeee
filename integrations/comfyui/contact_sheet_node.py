"""The node *Contact Sheet*: all images of a batch on one picture, numbered."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from comfy_api.latest import io

from ..pictures import INK
from ..sheets.contact_sheet import PAPER

GAP, CAPTION, FONT = 12, 28, 18  # pixels


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


def sheet(images: torch.Tensor, columns: int, labels: list[str]) -> torch.Tensor:
    """(batch, height, width, 3) in [0, 1] to one picture (1, H, W, 3).

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
