"""ComfyUI nodes. The repository is cloned into `custom_nodes`; ComfyUI finds `comfy_entrypoint` in the root module.

Importing this imports nothing of ComfyUI: the nodes are loaded when it asks for them.
"""

from typing import Any

__all__ = ["comfy_entrypoint"]


async def comfy_entrypoint() -> Any:
    """The extension, as ComfyUI's loader calls for it (V3 node API)."""
    from .nodes import CommutantExtension

    return CommutantExtension()
