"""commutant: low-resolution previews that look like the high-resolution image of the same seed.

The repository root is this package, so that one checkout serves ``pip install``, a web UI's "install from URL"
and a ``git clone`` into a nodes folder. Sub-packages load on first use (PEP 562): importing
``commutant`` imports no framework.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_SUBPACKAGES = ("operators", "commutator", "adapters", "integrations")

__all__ = [*_SUBPACKAGES, "__version__"]


def __getattr__(name: str) -> Any:
    if name in _SUBPACKAGES:
        return import_module(f"{__name__}.{name}")
    if name == "comfy_entrypoint":  # ComfyUI's loader looks here for the nodes
        return import_module(f"{__name__}.integrations.comfyui").comfy_entrypoint
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
