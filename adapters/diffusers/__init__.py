"""Previews and finishes of diffusers pipelines. Importing this package loads torch on first use only."""

from typing import TYPE_CHECKING, Any

from ..errors import BusyError, Interrupted, NonFiniteError, UnsupportedError

if TYPE_CHECKING:
    from .field import PipelineField
    from .previewer import Previewer

__all__ = ["BusyError", "Interrupted", "NonFiniteError", "PipelineField", "Previewer", "UnsupportedError"]


def __getattr__(name: str) -> Any:
    if name == "Previewer":
        from .previewer import Previewer

        return Previewer
    if name == "PipelineField":
        from .field import PipelineField

        return PipelineField
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
