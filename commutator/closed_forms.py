"""Commutators known on paper, where they are not zero.

Each function takes an operator A and a field and returns `f(x, t)`, equal to `commutator(operator, field, path)(x, t)`
but computed another way: from the difference of two gains, two stencils or two posteriors. `g` is the noise gain, `c`
the scale and `t'` the time of the transport, so `sigma(t') = c g sigma(t)` and `alpha(t') = c alpha(t)`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from array_api_compat import array_namespace

from ..operators import BlockMean, LinearOperator, SpectralCrop, StridedSelection
from .fields import ConvolutionField, GaussianField, GaussianMixtureField, StationaryGaussianField
from .fields.convolution import convolved
from .fields.stationary import filtered
from .path import Path, RectifiedFlow
from .transport import Transport

Array = Any
ClosedForm = Callable[[Array, float], Array]


def gaussian_commutator(operator: LinearOperator, field: GaussianField) -> ClosedForm:
    """White data of one spread S at both sizes: the difference of two shrinkages, on the deviation from the mean m.

        A x0hat(x, t)    = m + k(t) (A x - alpha m)
        x0hat(c A x, t') = m + k(t') (c A x - c alpha m)
        commutator       = (k(t) - c k(t')) (A x - alpha m),     k = alpha S^2 / (alpha^2 S^2 + sigma^2)

    and with alpha(t') = c alpha, sigma(t') = c g sigma

        k(t) - c k(t') = alpha S^2 (g^2 - 1) sigma^2 / ((alpha^2 S^2 + sigma^2) (alpha^2 S^2 + g^2 sigma^2)).

    Zero for g = 1. Not zero below: A turns white data of spread S into white data of spread g S; the field expects S.
    Raises TypeError for a mean that is an array, and as `Transport.of` does.
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
) -> ClosedForm:
    """One stencil at two sizes: the difference of the stencil and its dilation by the scale s, then A.

    A moves by one pixel when its input moves by one block: A roll_(s d) = roll_d A. So convolving A x with k is A after
    convolving x with k dilated by s (`k[d]` at `s d`, zeros between), and

        commutator = A ((k_t - c dilated(k_t')) * x).

    For a stencil of one tap and g = 1 it is zero. Raises TypeError for other operators.
    """
    if not isinstance(operator, StridedSelection | BlockMean):
        raise TypeError(f"{operator!r} acts on no blocks: the closed form needs a StridedSelection or a BlockMean")
    the_path = RectifiedFlow() if path is None else path

    def at(x: Array, t: float) -> Array:
        scale, moved = the_path.transport(operator.gain, t)
        dilated = convolved(x, field.stencil(moved), operator.scale)
        return operator(convolved(x, field.stencil(t)) - scale * dilated)

    return at


def stationary_commutator(operator: SpectralCrop, field: StationaryGaussianField) -> ClosedForm:
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


def two_point_commutator(operator: LinearOperator, field: GaussianMixtureField) -> ClosedForm:
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
