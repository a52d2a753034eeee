"""Moving, turning and warping a generated image: a transport that keeps the resolution.

The signal goes through an operator, the noise through its noise partner, and time stays. A model cannot continue from a
warped state as a whole: interpolation colours the noise in it. Method: section "Translation and warping" of
docs/method.md; the idea of arXiv 2604.09227, section 4, with an exact split into signal and noise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from array_api_compat import array_namespace

from ..operators import LinearOperator, NoisePartner
from .path import Path

Array = Any


@dataclass(frozen=True)
class Motion:
    """The map of states, answers and noise along `operator`, for arrays (batch, ..., height, width).

    forward   y(t) = A (x(t) - c noise) + c N(noise),   c = sigma(t) / sigma(t_0)

    `noise` is the recorded first state, pure noise at time t_0. Samplers are linear in noise and answers; first-order
    ones and exponential integrators carry the noise along with exactly this factor. So `x(t) - c noise` is what the
    model has answered so far, and y(t) is the state that the sampler reaches from the noise N(noise) with the answers
    A x0hat (replay). Nothing is resampled that is noise.

    Attributes:
        noise: the first state, at time `first`. moved_noise: N(noise).
    """

    operator: LinearOperator
    path: Path
    noise: Array
    moved_noise: Array
    first: float

    @classmethod
    def of(cls, operator: LinearOperator, path: Path, noise: Array, first: float, seeds: Sequence[int]) -> Motion:
        """The motion of `operator` for a run that began with `noise` at time `first`.

        `seeds`, one per sample, are for the fresh noise that the noise partner needs: the same seed, the same motion.
        Raises ValueError where the operator changes the size, has no noise partner, or the run did not begin with pure
        noise; ShapeError where it does not take the size of the noise.
        """
        if operator.out_shape(noise.shape) != tuple(noise.shape):
            made = operator.out_shape(noise.shape)
            raise ValueError(f"{operator!r} makes {made[-2:]} of {tuple(noise.shape[-2:])}: a motion keeps the size")
        if path.alpha(first) > 1e-6 and not path.starts_with_noise:
            raise ValueError(f"the run began at time {first}, not with pure noise, and its noise cannot be told apart")
        if len(seeds) != noise.shape[0]:
            raise ValueError(f"got {len(seeds)} seeds for {noise.shape[0]} samples")
        return cls(operator, path, noise, _moved(operator.noise_partner(), noise, seeds), first)

    def moved(self, t: float) -> float:
        """The time at which the moved state lives: the same."""
        return t

    def start(self, x: Array, t: float) -> Array:
        """The first state: the moved noise. `x` is the first state that the motion was made for."""
        return self.moved_noise

    def state(self, x: Array, t: float) -> Array:
        """The moved state for the recorded `x` at `t`."""
        c = self.path.sigma(t) / self.path.sigma(self.first)
        return self.operator(x - c * self.noise) + c * self.moved_noise

    def output(self, output: Array, x: Array, t: float) -> Array:
        """What a model that commutes with the operator would have answered at the moved state."""
        denoised = self.path.denoised(output, x, t)
        return self.path.output(self.operator(denoised), self.state(x, t), t)


def _moved(partner: NoisePartner, noise: Array, seeds: Sequence[int]) -> Array:
    # Sample by sample, so that one image moves the same way whatever else is in the batch.
    parts = [partner(noise[b : b + 1], seed) for b, seed in enumerate(seeds)]
    return array_namespace(noise).concat(parts, axis=0)
