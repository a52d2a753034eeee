"""The paths of models that were trained on a table of noise levels: Stable Diffusion 1.x, 2.x, XL and their kin."""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from typing import Any, ClassVar

from ....commutator import Path, RectifiedFlow

Array = Any
PREDICTIONS = ("epsilon", "v_prediction")


@dataclass(frozen=True)
class TablePath(Path):
    """Time is the noise-to-signal ratio sigma / alpha, in which both conventions of the states meet.

    scaled      x = alpha x_0 + sigma eps,  alpha = 1 / sqrt(1 + t^2),  sigma = t alpha  (variance preserving)
    not scaled  x = x_0 + t eps                                                           (variance exploding)

    The model always sees the scaled state x_s and answers eps or v = alpha eps - sigma x_0 (Salimans & Ho 2022). Runs
    begin at the table's last level with what the scheduler takes for pure noise.
    """

    name = "noise-table"
    towards_image: ClassVar[int] = -1  # eps and v both point to the noise
    starts_with_noise: ClassVar[bool] = True
    prediction: str = "epsilon"
    scaled: bool = True

    def __post_init__(self) -> None:
        if self.prediction not in PREDICTIONS:
            raise ValueError(f"prediction must be one of {PREDICTIONS}, got {self.prediction!r}")

    def alpha(self, t: float) -> float:
        return _alpha(t) if self.scaled else 1.0

    def sigma(self, t: float) -> float:
        return t * self.alpha(t)

    def transport(self, gain: float, t: float) -> tuple[float, float]:
        t = self._checked(gain, t, 0.0, sys.float_info.max)
        moved = gain * t
        return (_alpha(moved) / _alpha(t) if self.scaled else 1.0), moved

    def denoised(self, output: Array, x: Array, t: float) -> Array:
        signal, noise = _alpha(t), t * _alpha(t)
        if self.prediction == "epsilon":
            return x / signal - t * output if self.scaled else x - t * output
        return signal * self._seen(x, t) - noise * output

    def output(self, denoised: Array, x: Array, t: float) -> Array:
        if t <= 0:
            raise ValueError(f"{self.prediction} cannot be recovered from the denoised prediction at noise level 0")
        signal, noise = _alpha(t), t * _alpha(t)
        if self.prediction == "epsilon":
            return (self._seen(x, t) - signal * denoised) / noise
        return (signal * self._seen(x, t) - denoised) / noise

    def _seen(self, x: Array, t: float) -> Array:
        """The scaled state x_s, which the model sees."""
        return x if self.scaled else x * _alpha(t)


class OpenFlow(RectifiedFlow):
    """A rectified flow whose solver steps in log-SNR: its runs begin with pure noise a little below t = 1."""

    starts_with_noise = True


def _alpha(t: float) -> float:
    return 1.0 / math.hypot(1.0, t)
