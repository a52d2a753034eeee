"""The steps of one run: which times they visit, of which order they are, and when a head may end.

**Times.** A run of a few steps reads the final's own schedule at evenly spaced (fractional) indices, so that it keeps
the spacing that the user's scheduler chose (`stage_times`).

**Order.** Written in the denoised prediction D, an Euler step from (x, t) to t' and a step of DPM-Solver++ are the same
line,

    x'  =  (sigma'/sigma) x + (alpha' - alpha sigma'/sigma) D,

and the second-order multistep method only puts an extrapolation in the place of D: with log-SNR l = log(alpha/sigma),
h = l' - l and h_0 = l - l_previous,

    D  +  h / (2 h_0) (D - D_previous).

So a sampler that is handed the extrapolated answer takes the second-order step without knowing (`Extrapolation`). The
first step has no previous answer, and the last one, to sigma = 0, stays first order, as in DPM-Solver++. Transport at
matched time shifts all log-SNRs alike, so that the last answer of the head, seen through the operator, is the
history after it. Source: Lu et al., "DPM-Solver++: Fast solver for guided sampling of diffusion probabilistic models",
2022, algorithm 2.

**Early switch.** The layout of the denoised prediction has settled when

    change_i  =  ||x0hat_i - x0hat_{i-1}|| / ||x0hat_i||

is small from one evaluation to the next (`Settling`). One number a sample; a batch ends when all of its samples have
settled. A norm over all values, which any arrangement of them leaves alone: samplers may keep their latents packed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from ..operators.arrays import Array
from .condition import sample_norm
from .path import Path
from .transport import Motion, Stay, Transport, Transports


def stage_times(
    move: Transport | Stay | Transports | Motion, times: Sequence[float], switch: int, steps: int | None
) -> list[float]:
    """Times of the steps from the switch to the end of a run, both included.

    Args:
        move: takes the times of `times` to those of the stage.
        times: the schedule of the run before, N + 1 decreasing times that end at the path's clean end (0).
        switch: D, the index in `times` at which the trajectory is carried over.
        steps: number K of steps; None keeps one per remaining step.

    Returns:
        K + 1 decreasing times. The moved schedule is read at K + 1 evenly spaced (fractional) indices.

    Raises:
        ValueError: when `switch` is outside the schedule or `steps` is not positive.
    """
    require_switch(times, switch)
    remaining = len(times) - 1 - switch
    count = remaining if steps is None else steps
    if count < 1:
        raise ValueError(f"a stage needs at least one step, got {count}")
    moved = [move.time_of(t) for t in times[switch:]]
    if count == remaining:
        return moved
    out = []
    for k in range(count):
        i, rest = divmod(k * remaining, count)
        out.append(moved[i] + rest / count * (moved[i + 1] - moved[i]))
    return [*out, moved[-1]]


def require_switch(times: Sequence[float], switch: int) -> None:
    """Raise ValueError unless the schedule has a step left after the switch."""
    if not 0 <= switch < len(times) - 1:
        raise ValueError(f"the switch step must lie in 0..{len(times) - 2} for {len(times) - 1} steps, got {switch}")


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


class Settling:
    """Watches the denoised predictions of a head. `threshold` None never settles."""

    def __init__(self, threshold: float | None, path: Path) -> None:
        self.threshold, self.path = threshold, path
        self._last: Array | None = None

    def settled(self, output: Array, x: Array, t: float) -> bool:
        """Whether every sample moved by less than the threshold since the last call."""
        if self.threshold is None:
            return False
        seen = self.path.denoised(output, x, t)
        last, self._last = self._last, seen
        if last is None:
            return False
        changes, sizes = sample_norm(seen - last), sample_norm(seen)
        return all(float(c) < self.threshold * float(s) for c, s in zip(changes, sizes))
