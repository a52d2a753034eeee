"""Carrying a recorded high-resolution trajectory over to low resolution: state, time and model outputs.

`y = scale * A x`, `t' = transport(g, t)`: method of matched time. With noise gain 1 (strided selection, the paper's
operators) the time is unchanged and everything reduces to `A` itself, bit for bit.

A `Motion` carries a trajectory over to a moved, turned or warped one of the same resolution: the signal goes through an
operator, the noise through its noise partner, and time stays. A model cannot continue from a warped state as a whole:
interpolation colours the noise in it. Method: section "Translation and warping" of docs/method.md; the idea of arXiv
2604.09227, section 4, with an exact split into signal and noise.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from array_api_compat import array_namespace

from ..operators import LinearOperator, NoisePartner
from ..operators.arrays import Array
from .path import Path


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

    time="matched" scales `A x` back onto the path and moves the time; it needs an isotropic operator. With a `signal`
    S of its own, linear or not, the state is split at the denoised prediction, and only the noise goes through A:

        y = alpha(t') S(x0hat) + sigma(t') A epshat / g,   epshat = (x - alpha(t) x0hat) / sigma(t)

    which is `c A x` where S is A.
    time="same" keeps the time and gives the predicted noise unit variance again, `alpha A x0hat + sigma A epshat / g`;
    it needs the denoised prediction at the state. With noise gain 1 the two agree.
    """

    operator: LinearOperator | PerSample
    path: Path
    gain: float
    time: str = "matched"
    signal: Callable[[Array], Array] | None = None

    @classmethod
    def of(
        cls,
        operator: LinearOperator | PerSample,
        path: Path,
        shape: Sequence[int],
        time: str,
        signal: Callable[[Array], Array] | None = None,
    ) -> Transport:
        """The transport of `operator` on arrays of `shape`.

        Raises ValueError when the operator is not isotropic or does not keep constants.
        """
        gain = operator.noise_gain(tuple(shape))
        if gain is None:
            raise ValueError(
                f"{operator!r} does not keep white noise white (A A^T is no multiple of I): a model cannot continue "
                "from its result; use a strided selection, a block mean, a spectral crop or a permutation of pixels; "
                "to move or warp an image, which needs fresh noise, use a Transform"
            )
        if not operator.preserves_constants:
            raise ValueError(f"{operator!r} changes the mean of an image (its rows do not sum to 1): no smaller image")
        if time not in ("matched", "same"):
            raise ValueError(f"time must be 'matched' or 'same', got {time!r}")
        return cls(operator, path, float(gain), time, signal)

    def image(self, denoised: Array) -> Array:
        """A denoised prediction at low resolution: `A x0hat`, or `S(x0hat)`."""
        return self.operator(denoised) if self.signal is None else self.signal(denoised)

    @property
    def linear(self) -> Transport:
        """The same without a signal of its own: what states long past are carried by."""
        return self if self.signal is None else Transport(self.operator, self.path, self.gain, self.time)

    def time_of(self, t: float) -> float:
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
        return self.noise(x) if self.time == "same" else self.linear.state(x, t)

    def split_state(self, x: Array, t: float, denoised: Array, image: Array) -> Array:
        """The low-resolution state of a `signal`: `image` is `self.image(denoised)`, the rest of `x` is noise."""
        low = self.time_of(t)
        noise = self.operator(x - self.path.alpha(t) * denoised)
        return self.path.alpha(low) * image + self.path.sigma(low) / (self.gain * self.path.sigma(t)) * noise

    def state(self, x: Array, t: float, denoised: Array | None = None) -> Array:
        """The low-resolution state for the high-resolution `x` at `t`.

        Raises ValueError when time="same" with a gain other than 1 and no `denoised` is given (except where the state
        is pure noise, alpha(t) = 0).
        """
        if self.signal is not None:
            if denoised is None:
                raise ValueError("a transport with a signal of its own needs the denoised prediction at the switch")
            return self.split_state(x, t, denoised, self.signal(denoised))
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
        if self.gain == 1.0 and self.signal is None:
            return self.operator(output)
        denoised = self.path.denoised(output, x, t)
        image = self.image(denoised)
        y = self.state(x, t, denoised) if self.signal is None else self.split_state(x, t, denoised, image)
        return self.path.output(image, y, self.time_of(t))


@dataclass(frozen=True)
class Stay:
    """A change of schedule alone: state, time, answers and noise stay as they are."""

    gain: float = 1.0

    def operator(self, x: Array) -> Array:
        return x

    def image(self, denoised: Array) -> Array:
        return denoised

    @property
    def linear(self) -> Stay:
        return self

    def time_of(self, t: float) -> float:
        return t

    def noise(self, noise: Array) -> Array:
        return noise

    def start(self, x: Array, t: float) -> Array:
        return x

    def state(self, x: Array, t: float, denoised: Array | None = None) -> Array:
        return x

    def output(self, output: Array, x: Array, t: float) -> Array:
        return output


@dataclass(frozen=True)
class Transports:
    """Several transports, one after the other: from the final's resolution to that of a later stage."""

    parts: tuple[Transport | Stay, ...] = ()

    def time_of(self, t: float) -> float:
        """The time at which the state of a high-resolution run at `t` lives after all of them."""
        for part in self.parts:
            t = part.time_of(t)
        return t

    def noise(self, noise: Array) -> Array:
        """White noise after all of them, of the same standard deviation."""
        for part in self.parts:
            noise = part.noise(noise)
        return noise


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

    def time_of(self, t: float) -> float:
        """The time at which the moved state lives: the same."""
        return t

    def image(self, denoised: Array) -> Array:
        """A denoised prediction, moved."""
        return self.operator(denoised)

    @property
    def linear(self) -> Motion:
        return self

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
