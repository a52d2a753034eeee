"""Fields: a model through its denoised prediction, and those whose prediction is known exactly.

Exact fields make commutators and trajectories checkable: `x0hat(x, t) = E[x_0 | x_t = x]` on a path
`x_t = alpha(t) x_0 + sigma(t) eps`, for data of a known law, or a formula that needs no data. First those that look at
one pixel at a time, then circular convolutions, then Gaussian data that one basis makes independent (Wiener filters),
then finite mixtures of images.

Shapes: x (batch, ..., height, width), real floating, of numpy, torch or any array of the array API standard; answers
have the shape, dtype and library of x. Times are in the unit of the path.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy as np

from ..operators.arrays import Array, accumulation_dtype, array_namespace, cast, device_of, require_floating
from .path import Path, RectifiedFlow

Power: TypeAlias = Callable[[np.ndarray, np.ndarray, int, int], Any]


@runtime_checkable
class Field(Protocol):
    """A model, seen through its denoised prediction."""

    def denoised(self, x: Array, t: float) -> Array:
        """The denoised prediction at state x (batch, ..., height, width) and time t; shaped like x."""
        ...


@dataclass(frozen=True)
class PointwiseField:
    """An elementwise denoiser: `x0hat(x, t)[i] = function(x[i], t)` at every pixel i of (batch, ..., height, width).

    It commutes with everything that only moves or picks pixels, which is gain 1: selections, rolls, flips, turns. The
    commutator is zero bit for bit where `function` rounds a value the same way wherever it lies in memory, as
    arithmetic does; an array library's `tanh` or `exp` may take another code path for a view, an ulp away.

    Args:
        function: elementwise, from (values, time) to values of the same shape.
    """

    function: Callable[[Array, float], Array]

    def denoised(self, x: Array, t: float) -> Array:
        """`function(x, t)`; raises ValueError where the function changes the shape."""
        out = self.function(x, t)
        if tuple(out.shape) != tuple(x.shape):
            raise ValueError(
                f"an elementwise function keeps the shape {tuple(x.shape)}; this one gave {tuple(out.shape)}"
            )
        return out


@dataclass(frozen=True)
class GaussianField:
    """The exact denoiser of iid Gaussian data `x_0 ~ N(mean, std^2)`, a pointwise field.

    `E[x_0 | x_t] = mean + k(t) (x_t - alpha mean)` with the shrinkage `k = alpha std^2 / (alpha^2 std^2 + sigma^2)`.
    It commutes with every selection where the mean is constant.

    Args:
        mean: a number, or an array that broadcasts against x.
        std: the standard deviation, in the unit of the data.
        path: the probability path.
    """

    mean: Any = 0.0
    std: float = 1.0
    path: Path = RectifiedFlow()  # noqa: RUF009 - a frozen value object

    def denoised(self, x: Array, t: float) -> Array:
        """`E[x_0 | x_t = x]`, shaped like x."""
        return self.mean + self.lipschitz(t) * (x - self.path.alpha(t) * self.mean)

    def lipschitz(self, t: float) -> float:
        """The shrinkage k(t): the field's Lipschitz constant in x, a number without unit."""
        alpha, sigma = self.path.alpha(t), self.path.sigma(t)
        return alpha * self.std**2 / (alpha**2 * self.std**2 + sigma**2)


@dataclass(frozen=True)
class ConvolutionField:
    """A linear denoiser with a local stencil: `x0hat(x, t)[i] = sum_d k_t(d) x[i - d]`, indices on the torus.

    The same stencil serves every size (one larger than the image wraps around), as a convolutional network's does. It
    commutes with circular shifts bit for bit: every pixel is the same sum in the same order. Cost: taps x pixels.
    float16 and bfloat16 are summed in float32.

    Args:
        kernel: a stencil of odd height and width, its centre at d = 0, or a function of the time that gives one.

    Raises:
        ValueError: a stencil without a centre pixel or with values that are not finite (a function: when asked).
    """

    kernel: Array | Callable[[float], Array]

    def __post_init__(self) -> None:
        if not callable(self.kernel):
            self.stencil(0.0)

    def denoised(self, x: Array, t: float) -> Array:
        """x convolved with the stencil of t; raises TypeError for a dtype that is not real floating."""
        require_floating(self, x)
        return convolved(x, self.stencil(t))

    def stencil(self, t: float) -> np.ndarray:
        """The stencil at time t, float64 (odd, odd); raises ValueError as the class does."""
        k = np.asarray(self.kernel(t) if callable(self.kernel) else self.kernel, dtype=np.float64)
        if k.ndim != 2 or not all(n % 2 for n in k.shape):
            raise ValueError(f"a kernel has an odd height and width, got shape {k.shape}: pad it with zeros")
        if not np.isfinite(k).all():
            raise ValueError("a kernel's values must be finite")
        return k

    def response(self, t: float, height: int, width: int) -> np.ndarray:
        """The frequency response, complex (height, width): what the field multiplies each Fourier coefficient by.

        Its largest modulus is the field's spectral norm, hence its Lipschitz constant on that size.
        """
        pulse = np.zeros((height, width))
        pulse[0, 0] = 1.0
        return np.fft.fft2(convolved(pulse, self.stencil(t)))


def convolved(x: Array, stencil: np.ndarray, dilation: tuple[int, int] = (1, 1)) -> Array:
    """`sum_d k(d) x[i - dilation * d]` on the torus, taps in row-major order; x (..., H, W)."""
    xp = array_namespace(x)
    wide = cast(x, accumulation_dtype(x))
    (cy, cx), (sy, sx) = (n // 2 for n in stencil.shape), dilation
    total = xp.zeros_like(wide)
    for (a, b), weight in np.ndenumerate(stencil):
        total = total + float(weight) * xp.roll(wide, ((a - cy) * sy, (b - cx) * sx), axis=(-2, -1))
    return cast(total, x.dtype)


def variances(power: Power, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """`power(i, j, height, width)` on the grid of the integer frequencies `rows` x `columns`: float64 (height, width).

    Raises ValueError for variances that are negative, not finite, or of another shape.
    """
    i, j = np.meshgrid(rows, columns, indexing="ij")
    p = np.asarray(power(i, j, *i.shape), dtype=np.float64)
    if p.shape not in ((), i.shape):
        raise ValueError(f"power must give one variance per frequency, {i.shape}, not {p.shape}")
    if not (np.isfinite(p).all() and (p >= 0).all()):
        raise ValueError("power must give finite variances that are not negative")
    return np.broadcast_to(p, i.shape)


def wiener_gain(p: np.ndarray, path: Path, t: float) -> np.ndarray:
    """`E[c_0 | c_t] / c_t = alpha p / (alpha^2 p + sigma^2)` of coefficients c_0 ~ N(0, p); 0 where p is 0."""
    alpha, sigma = path.alpha(t), path.sigma(t)
    return np.divide(alpha * p, alpha**2 * p + sigma**2, out=np.zeros_like(p), where=p > 0)


@dataclass(frozen=True)
class StationaryGaussianField:
    """The exact denoiser of zero-mean Gaussian data that is diagonal in the orthonormal DCT-II basis.

    Stationary data with mirrored borders. The denoiser is the Wiener filter
    `D_k = alpha P_k / (alpha^2 P_k + sigma^2)`. A spectral crop with noise gain g keeps the first coefficients and
    scales them by g, so where `power` scales by g^2 with the size the field commutes exactly with the crop at matched
    time. It computes in numpy, on the host.

    Args:
        power: `power(i, j, height, width)`, the variances P of the coefficients (i, j) of an image of that size;
            i and j are integer arrays (height, width).
        path: the probability path.
    """

    power: Power
    path: Path = RectifiedFlow()  # noqa: RUF009

    def denoised(self, x: Array, t: float) -> Array:
        """`E[x_0 | x_t = x]`, shaped like x; raises ValueError for a `power` as `wiener` does."""
        xp, x = array_namespace(x), np.asarray(x)
        return xp.asarray(filtered(x, self.wiener(t, x.shape[-2], x.shape[-1])))

    def wiener(self, t: float, height: int, width: int) -> np.ndarray:
        """The factors `D_k` of the DCT coefficients, float64 (height, width); the largest is the Lipschitz constant.

        Raises ValueError for variances that are negative, not finite, or of another shape.
        """
        return wiener_gain(variances(self.power, np.arange(height), np.arange(width)), self.path, t)


def filtered(x: np.ndarray, factors: np.ndarray) -> np.ndarray:
    """`x` with its DCT-II coefficients multiplied by `factors`; (..., H, W) and (H, W)."""
    from scipy.fft import dctn, idctn

    spectrum = dctn(x, axes=(-2, -1), norm="ortho")
    return idctn(factors.astype(x.dtype) * spectrum, axes=(-2, -1), norm="ortho")


@dataclass(frozen=True)
class PeriodicGaussianField:
    """The exact denoiser of zero-mean Gaussian data whose covariance depends on the circular distance of two pixels.

    It is a convolution on the torus with the Wiener filter `D_k = alpha P_k / (alpha^2 P_k + sigma^2)`, so it commutes
    with every circular shift. float16 and bfloat16 are transformed in float32.

    Args:
        power: `power(i, j, height, width)`, the variances P of the unitary Fourier coefficients at the signed integer
            frequencies i in -height/2..height/2, j likewise (numpy's `fftfreq` times the size).
        path: the probability path.
    """

    power: Power
    path: Path = RectifiedFlow()  # noqa: RUF009

    def denoised(self, x: Array, t: float) -> Array:
        """`E[x_0 | x_t = x]`, shaped like x.

        Raises TypeError for a dtype that is not real floating, ValueError for a `power` as `wiener` does.
        """
        require_floating(self, x)
        xp, dtype = array_namespace(x), accumulation_dtype(x)
        gain = xp.asarray(self.wiener(t, x.shape[-2], x.shape[-1]), dtype=dtype, device=device_of(x))
        spectrum = xp.fft.fftn(cast(x, dtype), axes=(-2, -1))
        return cast(xp.real(xp.fft.ifftn(gain * spectrum, axes=(-2, -1))), x.dtype)

    def wiener(self, t: float, height: int, width: int) -> np.ndarray:
        """The factors `D_k` in `fftfreq` order, float64 (height, width); the largest is the Lipschitz constant.

        Raises ValueError for variances that are negative, not finite, or of another shape, and unless
        `power(-i, -j) == power(i, j)` on the grid, as it is for real images.
        """
        p = variances(self.power, _frequencies(height), _frequencies(width))
        mirrored = np.roll(np.flip(p), 1, axis=(0, 1))
        if not np.allclose(p, mirrored, rtol=1e-9, atol=0.0):
            raise ValueError("power(-i, -j) must equal power(i, j): real images have no other spectra")
        return wiener_gain(p, self.path, t)


def _frequencies(n: int) -> np.ndarray:
    return np.rint(np.fft.fftfreq(n) * n).astype(np.int64)


@dataclass(frozen=True)
class GaussianMixtureField:
    """The exact denoiser of a mixture of isotropic Gaussians, `sum_k w_k N(mu_k, std^2 I)` over whole images.

    With `std = 0` it is the exact optimal denoiser of a finite data set. Cost: batch x components x pixels.

    Args:
        means: (components, ..., height, width), the trailing part shaped like one sample of x.
        std: the standard deviation around each mean.
        weights: (components,), not negative, in any unit; equal ones where None.
        path: the probability path.

    Raises:
        ValueError: another number of weights than of means.
    """

    means: Array
    std: float = 0.0
    weights: Array | None = None
    path: Path = RectifiedFlow()  # noqa: RUF009

    def __post_init__(self) -> None:
        count = self.means.shape[0]
        if self.weights is not None and tuple(self.weights.shape) != (count,):
            raise ValueError(f"weights of shape {tuple(self.weights.shape)} do not fit {count} means")

    def denoised(self, x: Array, t: float) -> Array:
        """`E[x_0 | x_t = x]`, shaped like x; raises ValueError where a sample is not shaped like a mean."""
        xp = array_namespace(x)
        if tuple(x.shape[1:]) != tuple(self.means.shape[1:]):
            raise ValueError(f"samples of shape {tuple(x.shape[1:])} do not fit means of {tuple(self.means.shape[1:])}")
        alpha, sigma = self.path.alpha(t), self.path.sigma(t)
        variance = alpha**2 * self.std**2 + sigma**2
        flat = xp.reshape(x, (x.shape[0], -1))
        means = xp.reshape(self.means, (self.means.shape[0], -1))
        distance = xp.sum((flat[:, None, :] - alpha * means[None, :, :]) ** 2, axis=-1)
        logits = -distance / (2 * variance)
        if self.weights is not None:
            logits = logits + xp.log(self.weights)[None, :]
        logits = logits - xp.max(logits, axis=1, keepdims=True)
        posterior = xp.exp(logits)
        posterior = posterior / xp.sum(posterior, axis=1, keepdims=True)
        shrink = alpha * self.std**2 / variance
        centre = posterior @ means
        out = centre + shrink * (flat - alpha * centre)
        return xp.reshape(out, x.shape)
