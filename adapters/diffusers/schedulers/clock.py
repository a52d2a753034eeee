"""What a model is told the time is, for a noise level sigma of a flow.

Nearly every flow pipeline tells its model t = sigma. CogView4 tells it the time before the shift, t with
sigma = k / (k + 1/t - 1), k depending on the resolution (Esser et al. 2024, equation 23). k is read off the schedule
that the pipeline makes for itself at that resolution.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from ..errors import UnsupportedError

MINIMUM_STEPS = 2  # of a schedule that k can be read off: the first, at the noisy end, says nothing


def shift(scheduler: Any) -> float | None:
    """k of the schedule that the scheduler holds; None where it tells its model the noise levels themselves.

    Raises UnsupportedError where its times and noise levels have no such k.
    """
    told = (scheduler.timesteps.double() / scheduler.config.num_train_timesteps).cpu()
    level = scheduler.sigmas[: len(told)].double().cpu()
    if torch.allclose(told, level, rtol=1e-4, atol=1e-5):
        return None
    inner = (told > 0) & (told < 1) & (level > 0) & (level < 1)
    ratios = (1 / told[inner] - 1) * level[inner] / (1 - level[inner])
    if not len(ratios) or not torch.allclose(ratios, ratios.median(), rtol=1e-2):
        raise UnsupportedError(
            f"{type(scheduler).__name__} tells the model times that do not follow from its noise levels by a shift; "
            "leave out shift_terminal and given timesteps"
        )
    return float(ratios.median())


def timesteps(scheduler: Any, sigmas: Sequence[float], k: float) -> torch.Tensor:
    """Timesteps of `sigmas` for the model, t = 1 / (1 + k (1/sigma - 1)), in units of the scheduler."""
    told = 1 / (1 + k * (1 / torch.tensor(sigmas, dtype=torch.float64) - 1))
    return (told * scheduler.config.num_train_timesteps).to(torch.float32)
