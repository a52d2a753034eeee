"""Second order for first-order samplers: the answer that makes an Euler step a step of DPM-Solver++(2M).

Written in the denoised prediction D, an Euler step from (x, t) to t' and a step of DPM-Solver++ are the same line,

    x'  =  (sigma'/sigma) x + (alpha' - alpha sigma'/sigma) D,

and the second-order multistep method only puts an extrapolation in the place of D: with log-SNR l = log(alpha/sigma),
h = l' - l and h_0 = l - l_previous,

    D  +  h / (2 h_0) (D - D_previous).

So a sampler that is handed the extrapolated answer takes the second-order step without knowing. The first step has no
previous answer, and the last one, to sigma = 0, stays first order, as in DPM-Solver++. Transport at matched time shifts
all log-SNRs alike, so that the last answer of the head, seen through the operator, is the history of the tail.

Source: Lu et al., "DPM-Solver++: Fast solver for guided sampling of diffusion probabilistic models", 2022, algorithm 2.
"""

from __future__ import annotations

import math
from typing import Any

from .path import Path

Array = Any


class Extrapolation:
    """Answers for the steps of one run; `order` 1 leaves them as they are.

    `previous` is the (denoised, time) of the answer before the first, where there is one.
    """

    def __init__(self, path: Path, order: int, previous: tuple[Array, float] | None = None) -> None:
        self.path, self.order, self.previous = path, order, previous

    def __call__(self, output: Array, x: Array, t: float, t_next: float) -> Array:
        """The model output to step on from state `x` at `t` to `t_next`, in place of `output`."""
        if self.order == 1:
            return output
        denoised = self.path.denoised(output, x, t)
        previous, self.previous = self.previous, (denoised, t)
        weight = 0.0 if previous is None else self._weight(previous[1], t, t_next)
        if previous is None or weight == 0.0:
            return output
        return self.path.output(denoised + weight * (denoised - previous[0]), x, t)

    def _weight(self, t_previous: float, t: float, t_next: float) -> float:
        """h / (2 h_0); 0 for a step to sigma = 0 and after one from alpha = 0, whose log-SNRs are infinite."""
        if self.path.sigma(t_next) <= 0.0 or self.path.alpha(t_previous) <= 0.0:
            return 0.0
        before, here, after = (self._log_snr(s) for s in (t_previous, t, t_next))
        return (after - here) / (2.0 * (here - before))

    def _log_snr(self, t: float) -> float:
        return math.log(self.path.alpha(t) / self.path.sigma(t))
