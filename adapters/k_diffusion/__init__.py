"""Previews and finishes of k-diffusion samplers, the user's own included. Importing this loads torch on first use only.

A sampler is any function `sampler(model, x, sigmas, extra_args=None, callback=None, disable=None, **options)` that asks
`model(x, sigma, **extra_args)` for the denoised prediction. It is never copied, and k_diffusion is never imported: the
sampler runs, unmodified, with a model that remembers.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..errors import NonFiniteError, UnsupportedError
    from .denoiser import CommutantDenoiser
    from .finishing import finish
    from .halves import Halves
    from .moving import Movement, move
    from .previewing import Preview, preview
    from .recording import record
    from .taping import image_of

__all__ = [
    "CommutantDenoiser",
    "Halves",
    "Movement",
    "NonFiniteError",
    "Preview",
    "UnsupportedError",
    "finish",
    "image_of",
    "move",
    "preview",
    "record",
]

_HOMES = {
    "CommutantDenoiser": ".denoiser",
    "Halves": ".halves",
    "Movement": ".moving",
    "NonFiniteError": "..errors",
    "Preview": ".previewing",
    "UnsupportedError": "..errors",
    "finish": ".finishing",
    "image_of": ".taping",
    "move": ".moving",
    "preview": ".previewing",
    "record": ".recording",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name], __package__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
