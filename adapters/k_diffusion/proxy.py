"""A callable in the model's place."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

Model = Callable[..., Any]


class Stop(BaseException):
    """Ends a sampler that has given what it ran for. BaseException: no `except Exception` of a sampler may keep it."""


class Proxy:
    """Stands for a model: attributes it lacks are the model's, so that samplers can read `model.inner_model`."""

    def __init__(self, model: Model) -> None:
        self._model = model

    def __getattr__(self, name: str) -> Any:
        if name == "_model":  # not there yet, as while copying: asking for it again would never end
            raise AttributeError(name)
        return getattr(self._model, name)


def level(sigma: Any) -> float:
    """The noise level of a call: samplers pass one sigma per sample, all equal."""
    return float(torch.as_tensor(sigma).reshape(-1)[0])
