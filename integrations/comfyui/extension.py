"""The list of nodes."""

from __future__ import annotations

from comfy_api.latest import ComfyExtension, io

from .contact_sheet_node import ContactSheet
from .preview_node import PreviewSampler
from .transform_node import TransformSampler


class CommutantExtension(ComfyExtension):
    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return [PreviewSampler, TransformSampler, ContactSheet]
