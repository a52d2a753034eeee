"""commutant: low-resolution previews that look like the high-resolution image of the same seed.

The repository root is this package, so that one checkout serves ``pip install``, a web UI's "install from URL"
and a ``git clone`` into a nodes folder. Sub-packages load on first use (PEP 562): importing
``commutant`` imports no framework.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .integrations.scenes import SCENES_CALL_DEFAULTS, load_scenes

__version__ = "0.1.0"

_PARTS = ("operators", "commutator", "adapters", "integrations", "errors")
_NAMES = {
    "load_scenes": "integrations.scenes",
    "SCENES_CALL_DEFAULTS": "integrations.scenes",
    # Saved pipelines of the embedded model name the first. diffusers looks it up in a module that is imported already,
    # and beside it the base class that says how it is loaded.
    "ScenesAutoencoder": "integrations.scenes.autoencoder",
    "ModelMixin": "integrations.scenes.autoencoder",
}

__all__ = [*_PARTS, "SCENES_CALL_DEFAULTS", "__version__", "load_scenes"]


def __getattr__(name: str) -> Any:
    if name in _PARTS:
        return import_module(f"{__name__}.{name}")
    if name in _NAMES:
        return getattr(import_module(f"{__name__}.{_NAMES[name]}"), name)
    if name == "comfy_entrypoint":  # ComfyUI's loader looks here for the nodes
        return import_module(f"{__name__}.integrations.comfyui").comfy_entrypoint
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
