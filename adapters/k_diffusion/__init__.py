"""Previews and finishes of k-diffusion samplers, the user's own included. Importing this loads torch on first use only.

A sampler is any function `sampler(model, x, sigmas, extra_args=None, callback=None, disable=None, **options)` that asks
`model(x, sigma, **extra_args)` for the denoised prediction. It is never copied, and k_diffusion is never imported: the
sampler runs, unmodified, with a model that remembers.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..errors import NonFiniteError, UnsupportedError
    from .denoiser import CommutantDenoiser, Evaluations
    from .finishing import finish, record
    from .previewing import Preview, TwoCallPreview, preview
    from .rehearsal import Walk
    from .tape import image_of
    from .transforming import transform

__all__ = [
    "CommutantDenoiser",
    "Evaluations",
    "NonFiniteError",
    "Preview",
    "TwoCallPreview",
    "UnsupportedError",
    "Walk",
    "finish",
    "image_of",
    "preview",
    "record",
    "transform",
]

_HOMES = {
    "CommutantDenoiser": ".denoiser",
    "Evaluations": ".denoiser",
    "NonFiniteError": "..errors",
    "Preview": ".previewing",
    "TwoCallPreview": ".previewing",
    "UnsupportedError": "..errors",
    "Walk": ".rehearsal",
    "finish": ".finishing",
    "image_of": ".tape",
    "preview": ".previewing",
    "record": ".finishing",
    "transform": ".transforming",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name], __package__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
