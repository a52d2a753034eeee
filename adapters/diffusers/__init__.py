"""Previews and finishes of diffusers pipelines. Importing this package loads torch on first use only."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..errors import BusyError, NonFiniteError, UnsupportedError
    from .field import PipelineField
    from .previewer import Previewer

__all__ = ["BusyError", "NonFiniteError", "PipelineField", "Previewer", "UnsupportedError"]


def __getattr__(name: str) -> Any:
    if name == "Previewer":
        from .previewer import Previewer

        return Previewer
    if name == "PipelineField":
        from .field import PipelineField

        return PipelineField
    if name in ("BusyError", "NonFiniteError", "UnsupportedError"):
        from . import errors

        return getattr(errors, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
