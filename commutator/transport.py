"""Carrying a recorded high-resolution trajectory over to low resolution: state, time and model outputs.

`y = scale * A x`, `t' = transport(g, t)`: method of matched time. With noise gain 1 (strided selection, the paper's
operators) the time is unchanged and everything reduces to `A` itself, bit for bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from array_api_compat import array_namespace

from ..operators import LinearOperator
from .path import Path

Array = Any


@dataclass(frozen=True)
class PerSample:
    """A choice of one operator for every sample of a batch: `operators[choice[b]]` acts on sample `b`.

    All operators must map to the same shape and share one noise gain (the members of one family do).
    """

    operators: tuple[LinearOperator, ...]
    choice: tuple[int, ...]

    def __call__(self, x: Array) -> Array:
        if x.shape[0] != len(self.choice):
            raise ValueError(f"an operator was chosen for {len(self.choice)} samples, the batch has {x.shape[0]}")
        xp = array_namespace(x)
        return xp.concat([self.operators[k](x[b : b + 1]) for b, k in enumerate(self.choice)], axis=0)

    @property
    def preserves_constants(self) -> bool:
        return self.operators[0].preserves_constants

    def noise_gain(self, shape: tuple[int, ...]) -> float | None:
        return self.operators[0].noise_gain(shape)


@dataclass(frozen=True)
class Transport:
    """The map of the plan from high to low resolution, for arrays (batch, ..., height, width).

    time="matched" scales `A x` back onto the path and moves the time; it needs an isotropic operator.
    time="same" keeps the time and gives the predicted noise unit variance again, `alpha A x0hat + sigma A epshat / g`;
    it needs the denoised prediction at the state. With noise gain 1 the two agree.
    """

    operator: LinearOperator | PerSample
    path: Path
    gain: float
    time: str = "matched"

    @classmethod
    def of(cls, operator: LinearOperator | PerSample, path: Path, shape: Sequence[int], time: str) -> Transport:
        """The transport of `operator` on arrays of `shape`.

        Raises ValueError when the operator is not isotropic or does not keep constants.
        """
        gain = operator.noise_gain(tuple(shape))
        if gain is None:
            raise ValueError(
                f"{operator!r} does not keep white noise white (A A^T is no multiple of I): a model cannot continue "
                "from its result; use a strided selection, a block mean, a spectral crop or a permutation of pixels; "
                "to move or warp an image, which needs fresh noise, use a Manipulation"
            )
        if not operator.preserves_constants:
            raise ValueError(f"{operator!r} changes the mean of an image (its rows do not sum to 1): no smaller image")
        if time not in ("matched", "same"):
            raise ValueError(f"time must be 'matched' or 'same', got {time!r}")
        return cls(operator, path, float(gain), time)

    def moved(self, t: float) -> float:
        """The time `t'` at which the transported state lives."""
        return t if self._identity else self.path.transport(self.gain, t)[1]

    @property
    def _identity(self) -> bool:
        return self.gain == 1.0 or self.time == "same"

    def noise(self, noise: Array) -> Array:
        """White noise at low resolution from white noise at high, of the same standard deviation: `A eps / g`."""
        y = self.operator(noise)
        return y if self.gain == 1.0 else y / self.gain

    def start(self, x: Array, t: float) -> Array:
        """The low-resolution state for a high-resolution `x` that is pure noise, as the first state of a run is."""
        return self.noise(x) if self.time == "same" else self.state(x, t)

    def state(self, x: Array, t: float, denoised: Array | None = None) -> Array:
        """The low-resolution state for the high-resolution `x` at `t`.

        Raises ValueError when time="same" with a gain other than 1 and no `denoised` is given (except where the state
        is pure noise, alpha(t) = 0).
        """
        if self.gain == 1.0:
            return self.operator(x)
        if self.time == "matched":
            return self.operator(x) * self.path.transport(self.gain, t)[0]
        alpha, sigma = self.path.alpha(t), self.path.sigma(t)
        if alpha == 0.0:
            return self.operator(x) / self.gain
        if denoised is None:
            raise ValueError(
                "the same-time transport of a pooling operator needs the denoised prediction at the switch"
            )
        signal = self.operator(denoised)
        return alpha * signal + (self.operator(x) - alpha * signal) / self.gain if sigma else alpha * signal

    def output(self, output: Array, x: Array, t: float) -> Array:
        """What a model that commutes with the operator would have answered at the transported state.

        Its denoised prediction is `A x0hat(x, t)`. Fed to the low-resolution solver instead of a model call, it leads
        to the transported trajectory (replay).
        """
        if self.gain == 1.0:
            return self.operator(output)
        denoised = self.path.denoised(output, x, t)
        y = self.state(x, t, denoised)
        return self.path.output(self.operator(denoised), y, self.moved(t))
