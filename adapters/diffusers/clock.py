"""What a model is told the time is, for a noise level sigma.

Nearly every flow pipeline tells its model t = sigma. CogView4 tells it the time before the shift, t with
sigma = k / (k + 1/t - 1), k depending on the resolution (Esser et al. 2024, equation 23). k is read off the schedule
that the pipeline makes for itself at that resolution.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from .errors import UnsupportedError

MINIMUM = 2  # steps of a schedule that k can be read off: the first, at the noisy end, says nothing


def timesteps(scheduler: Any, sigmas: Sequence[float]) -> torch.Tensor:
    """Timesteps of `sigmas` for the model, t = 1 / (1 + k (1/sigma - 1)), in units of the scheduler.

    Raises UnsupportedError where the scheduler's own times and noise levels have no such k.
    """
    train, device = scheduler.config.num_train_timesteps, scheduler.sigmas.device
    told = (scheduler.timesteps.double() / train).cpu()
    level = scheduler.sigmas[: len(told)].double().cpu()
    wanted = torch.tensor(sigmas, dtype=torch.float64)
    if not torch.allclose(told, level, rtol=1e-4, atol=1e-5):
        inner = (told > 0) & (told < 1) & (level > 0) & (level < 1)
        ratios = (1 / told[inner] - 1) * level[inner] / (1 - level[inner])
        if not len(ratios) or not torch.allclose(ratios, ratios.median(), rtol=1e-2):
            raise UnsupportedError(
                f"{type(scheduler).__name__} tells the model times that do not follow from its noise levels by a "
                "shift; leave out shift_terminal and given timesteps"
            )
        wanted = 1 / (1 + ratios.median() * (1 / wanted - 1))
    return (wanted * train).to(device, torch.float32)
