"""The condition: the commutator of an operator with a field, its closed forms, and what it bounds.

The commutator says how far denoising first is from transforming first. Denoised form:
`[A, f](x, t) = A x0hat(x, t) - x0hat(c A x, t')` with `(c, t')` the path's transport: with g the noise gain of A,
`alpha(t') = c alpha(t)` and `sigma(t') = c g sigma(t)`. For g = 1 on a rectified flow it is `-t` times the paper's
`[D, v] = D v(x, t) - v(D x, t)` (arXiv 2604.09227).

Closed forms: commutators known on paper, where they are not zero. Each function takes an operator A and a field and
returns `f(x, t)`, equal to `commutator(operator, field, path)(x, t)` but computed another way: from the difference of
two gains, two stencils or two posteriors.

Bounds: how far a low-resolution run can drift from the transformed high-resolution run. In the coordinates
u = x / alpha, s = sigma / alpha transport is the plain map u -> A u, s -> g s, the flow is `du/ds = (u - x0hat) / s`
and an Euler step (DDIM) is `u' = r u + (1 - r) x0hat` with r = s' / s, on every path. With y the low-resolution run,
z = A u the transformed one, C the commutator on it and e = y - z,

    step   e' = r e + (1 - r) (x0hat(y) - x0hat(z) - C)
    flow   de / dl = -e + x0hat(y) - x0hat(z) - C,      l = -log s.

Where x0hat is K-Lipschitz in u, with norms for letters, `e' <= (r + (1 - r) K) e + (1 - r) C` and, by Gronwall,
`e(l) <= integral exp((K - 1) (l - m)) C(m) dm`. K < 1 forgets a commutator, K > 1 amplifies it. Both bounds are
attained by a linear x0hat = K u and a constant C. They are stated in x, as alpha e.

States x are (batch, ..., height, width); times are in the unit of the path.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from ..operators import BlockMean, LinearOperator, SpectralCrop, StridedSelection
from ..operators.arrays import Array, array_namespace
from .fields import (
    ConvolutionField,
    Field,
    GaussianField,
    GaussianMixtureField,
    StationaryGaussianField,
    convolved,
    filtered,
)
from .path import Path, RectifiedFlow
from .transport import Transport

AtState: TypeAlias = Callable[[Array, float], Array]


def sample_norm(x: Array) -> Array:
    """Euclidean norm of each sample: (batch, ...) -> (batch,). Half precisions accumulate in float32."""
    xp = array_namespace(x)
    if x.dtype not in (xp.float32, xp.float64):
        x = xp.astype(x, xp.float32)
    flat = xp.reshape(x, (x.shape[0], -1))
    return xp.sqrt(xp.sum(flat * flat, axis=1))


def commutator(operator: LinearOperator, field: Field, path: Path | None = None, *, time: str = "matched") -> AtState:
    """The commutator as a function of state and time.

    Args:
        operator: an isotropic linear operator (its noise gain moves the time); one of gain 1 that permutes pixels, as
            selections and rolls do, keeps the time and works on any field.
        field: anything with `denoised(x, t)`: a `Field`.
        path: the probability path; rectified flow unless given.
        time: "matched", or "same" to keep the time (only meaningful for noise gain 1, where both agree).

    Returns:
        `f(x, t)` for x (batch, ..., height, width): the commutator in denoised form, shaped like `operator(x)`.

    Raises:
        ValueError: by the function, before any evaluation: the operator is not isotropic on x's shape (Translate, a
            warp: see Transform) or does not keep constants, or `time` is neither word.

    Source: arXiv 2604.09227, there for velocities and selections.
    """
    sides = _sides(operator, field, path, time)

    def at(x: Array, t: float) -> Array:
        first, second = sides(x, t)
        return first - second

    return at


def commutator_norm(
    operator: LinearOperator, field: Field, path: Path | None = None, *, time: str = "matched", relative: bool = False
) -> AtState:
    """The commutator's Euclidean norm per sample, as a function of state and time.

    Args:
        operator, field, path, time: as `commutator` takes them.
        relative: divide by the norm of `A x0hat`; not finite where that is 0.

    Returns:
        `f(x, t)` for x (batch, ..., height, width): (batch,), float32 or float64. Two evaluations of the field.

    Raises:
        ValueError: as `commutator` does.
    """
    sides = _sides(operator, field, path, time)

    def norm(x: Array, t: float) -> Array:
        first, second = sides(x, t)
        value = sample_norm(first - second)
        return value / sample_norm(first) if relative else value

    return norm


def both_sides(transport: Transport, field: Field, x: Array, t: float, high: Array) -> tuple[Array, Array]:
    """`A x0hat(x, t)` and `x0hat(c A x, t')` for `high` = x0hat(x, t); one evaluation of the field."""
    return transport.operator(high), field.denoised(transport.state(x, t, high), transport.time_of(t))


def _sides(
    operator: LinearOperator, field: Field, path: Path | None, time: str
) -> Callable[[Array, float], tuple[Array, Array]]:
    the_path = RectifiedFlow() if path is None else path

    def at(x: Array, t: float) -> tuple[Array, Array]:
        transport = Transport.of(operator, the_path, x.shape, time)
        return both_sides(transport, field, x, t, field.denoised(x, t))

    return at


def gaussian_commutator(operator: LinearOperator, field: GaussianField) -> AtState:
    """White data of one spread S at both sizes: the difference of two shrinkages, on the deviation from the mean m.

        A x0hat(x, t)    = m + k(t) (A x - alpha m)
        x0hat(c A x, t') = m + k(t') (c A x - c alpha m)
        commutator       = (k(t) - c k(t')) (A x - alpha m),     k = alpha S^2 / (alpha^2 S^2 + sigma^2)

    and with alpha(t') = c alpha, sigma(t') = c g sigma

        k(t) - c k(t') = alpha S^2 (g^2 - 1) sigma^2 / ((alpha^2 S^2 + sigma^2) (alpha^2 S^2 + g^2 sigma^2)).

    Zero for g = 1. Not zero below: A turns white data of spread S into white data of spread g S; the field expects S.
    Raises TypeError for a mean that is an array, ValueError (by the function) as `commutator` does.
    """
    if not isinstance(field.mean, int | float):
        raise TypeError("the closed form needs a mean that is one number, the same at both sizes")

    def at(x: Array, t: float) -> Array:
        g = Transport.of(operator, field.path, x.shape, "matched").gain
        alpha, sigma = field.path.alpha(t), field.path.sigma(t)
        signal, noise = (alpha * field.std) ** 2, sigma**2
        factor = alpha * field.std**2 * (g * g - 1) * noise / ((signal + noise) * (signal + g * g * noise))
        return factor * (operator(x) - alpha * field.mean)

    return at


def convolution_commutator(
    operator: StridedSelection | BlockMean, field: ConvolutionField, path: Path | None = None
) -> AtState:
    """One stencil at two sizes: the difference of the stencil and its dilation by the scale s, then A.

    A moves by one pixel when its input moves by one block: A roll_(s d) = roll_d A. So convolving A x with k is A after
    convolving x with k dilated by s (`k[d]` at `s d`, zeros between), and

        commutator = A ((k_t - c dilated(k_t')) * x).

    For a stencil of one tap and g = 1 it is zero. The path is the rectified flow unless given. Raises TypeError for
    other operators.
    """
    if not isinstance(operator, StridedSelection | BlockMean):
        raise TypeError(f"{operator!r} acts on no blocks: the closed form needs a StridedSelection or a BlockMean")
    the_path = RectifiedFlow() if path is None else path

    def at(x: Array, t: float) -> Array:
        scale, moved = the_path.transport(operator.gain, t)
        dilated = convolved(x, field.stencil(moved), operator.scale)
        return operator(convolved(x, field.stencil(t)) - scale * dilated)

    return at


def stationary_commutator(operator: SpectralCrop, field: StationaryGaussianField) -> AtState:
    """DCT-diagonal data under a spectral crop: the difference of two Wiener filters, on the coefficients of A x.

    A keeps the first h x w coefficients, times g, so both sides are diagonal in the DCT basis of the small size:

        commutator_k = (D_k(t; H, W) - c D_k(t'; h, w)) (A x)_k,     D_k = alpha P_k / (alpha^2 P_k + sigma^2).

    With c D_k(t') = alpha p_k / (alpha^2 p_k + g^2 sigma^2), p the small power, it vanishes exactly for p = g^2 P: the
    power of real images of one scene seen at two sizes. Computes in numpy, on the host. Raises TypeError for other
    operators.
    """
    if not isinstance(operator, SpectralCrop):
        raise TypeError(f"{operator!r} is not diagonal in the DCT basis: the closed form needs a SpectralCrop")

    def at(x: Array, t: float) -> Array:
        transport = Transport.of(operator, field.path, x.shape, "matched")
        xp, small = array_namespace(x), np.asarray(operator(x))
        height, width = small.shape[-2:]
        scale, moved = field.path.transport(transport.gain, t)
        large = field.wiener(t, *x.shape[-2:])[:height, :width]
        return xp.asarray(filtered(small, large - scale * field.wiener(moved, height, width)))

    return at


def two_point_commutator(operator: LinearOperator, field: GaussianMixtureField) -> AtState:
    """Two images and a permutation P of pixels (gain 1): what the posterior makes of moved data.

    With the middle m = (mu_1 + mu_2) / 2, half the difference d = (mu_1 - mu_2) / 2, v = alpha^2 std^2 + sigma^2, the
    log odds of the first image are log(w_1 / w_2) + (|x - alpha mu_2|^2 - |x - alpha mu_1|^2) / (2 v), half of which is

        b(x) = log(w_1 / w_2) / 2 + alpha <x - alpha m, d> / v.

    The posterior centre is m + q d with q = tanh(b), and x0hat = (alpha std^2 / v) x + (sigma^2 / v) (m + q d). The
    first part is pointwise and commutes, so

        commutator = (sigma^2 / v) (P m - m + q(x) P d - q(P x) d).

    Zero where P leaves the data as they are: P mu_k = mu_k, or P swaps two images of equal weight.
    Raises ValueError unless the mixture has two components and `operator` keeps the size, with gain 1.
    """
    if field.means.shape[0] != 2:
        raise ValueError(f"the closed form is that of two images, the mixture has {field.means.shape[0]}")
    shape = field.means.shape[1:]
    if operator.noise_gain(shape) != 1.0 or operator.out_shape(shape) != tuple(shape):
        raise ValueError(f"{operator!r} is no permutation of {tuple(shape[-2:])} pixels: the closed form needs one")
    middle, half = (field.means[0] + field.means[1]) / 2, (field.means[0] - field.means[1]) / 2
    prior = 0.0 if field.weights is None else float(np.log(float(field.weights[0]) / float(field.weights[1])))

    def at(x: Array, t: float) -> Array:
        alpha, sigma = field.path.alpha(t), field.path.sigma(t)
        variance = alpha**2 * field.std**2 + sigma**2
        xp = array_namespace(x)

        def balance(state: Array) -> Array:
            axes = tuple(range(1, state.ndim))
            towards = xp.sum((state - alpha * middle) * half, axis=axes, keepdims=True)
            return xp.tanh(prior / 2 + alpha / variance * towards)

        moved = operator(middle) - middle + balance(x) * operator(half) - balance(operator(x)) * half
        return sigma**2 / variance * moved

    return at


def deviation_bound(norms: ArrayLike, times: Sequence[float], lipschitz: ArrayLike, path: Path) -> np.ndarray:
    """Bound on |y_k - c A x_k| for Euler steps without guidance, from the same start.

    Args:
        norms: commutator norms on the high-resolution states x_0..x_{K-1}, (K,) or (K, batch), in the unit of x; see
            `commutator_report`.
        times: the K + 1 decreasing times of the low-resolution run, the matched ones.
        lipschitz: Lipschitz constants of x0hat(x, t) in x at low resolution, at each of the first K times, or one.
        path: the path of both runs.

    Returns:
        float64 (K + 1, ...), one bound per time and sample, in the unit of x; the first is 0.

    Raises:
        ValueError: counts that do not fit, negative or non-finite values, times that do not decrease.
    """
    return _bound(norms, times, lipschitz, path, lambda k: k, _euler)


def flow_deviation_bound(norms: ArrayLike, times: Sequence[float], lipschitz: ArrayLike, path: Path) -> np.ndarray:
    """The same for the exact flows of both fields (solvers with small steps), at the given times.

    `norms` and `lipschitz` are upper bounds on each of the K intervals, not values at its start. Infinite from the last
    noise level to sigma = 0, or from alpha = 0, where K is 1 or more: the flow can amplify without end there.
    Arguments, result and errors otherwise as `deviation_bound`.
    """
    # alpha grows towards the clean end: its value at an interval's end makes a constant in x one in u.
    return _bound(norms, times, lipschitz, path, lambda k: k + 1, _gronwall)


def _euler(ratio: float, k: float) -> tuple[float, float]:
    return ratio + (1.0 - ratio) * k, 1.0 - ratio


def _gronwall(ratio: float, k: float) -> tuple[float, float]:
    """exp((K - 1) L) and its integral over an interval of length L = -log ratio."""
    rate, length = k - 1.0, math.inf if ratio == 0.0 else -math.log(ratio)
    if math.isinf(length):
        return (0.0, -1.0 / rate) if rate < 0 else (math.inf, math.inf)
    return math.exp(rate * length), math.expm1(rate * length) / rate if rate else length


def _bound(
    norms: ArrayLike,
    times: Sequence[float],
    lipschitz: ArrayLike,
    path: Path,
    coordinates: Callable[[int], int],
    factors: Callable[[float, float], tuple[float, float]],
) -> np.ndarray:
    """The recursion `e' = growth e + weight C`; step k's constant times alpha at time `coordinates(k)` is that in u."""
    sources, steps = np.asarray(norms, dtype=np.float64), len(times) - 1
    if steps < 1 or sources.ndim < 1 or sources.shape[0] != steps:
        raise ValueError(f"one norm per step is needed: got {sources.shape} for {steps} steps")
    constants = np.asarray(lipschitz, dtype=np.float64)
    if constants.shape not in ((), (steps,)):
        raise ValueError(f"one Lipschitz constant is needed, or one per step: got {constants.shape} for {steps} steps")
    for name, values in (("norms", sources), ("Lipschitz constants", constants)):
        if not (np.isfinite(values).all() and (values >= 0).all()):
            raise ValueError(f"{name} are finite and not negative")
    if any(b >= a for a, b in pairwise(times)):
        raise ValueError("the times of a run decrease")
    constants = np.broadcast_to(constants, (steps,))
    alpha, sigma = [path.alpha(t) for t in times], [path.sigma(t) for t in times]
    e = np.zeros(sources.shape[1:])
    out = [e]
    for k in range(steps):
        ratio = sigma[k + 1] * alpha[k] / (alpha[k + 1] * sigma[k])
        growth, weight = factors(ratio, alpha[coordinates(k)] * float(constants[k]))
        # Zero times an infinite factor is zero: no deviation, nothing to amplify.
        e = np.multiply(growth, e, out=np.zeros_like(e), where=e > 0) + np.multiply(
            weight, sources[k], out=np.zeros_like(e), where=sources[k] > 0
        )
        out.append(alpha[k + 1] * e)
    return np.stack(out)
