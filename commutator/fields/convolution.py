"""Fields that are circular convolutions with one stencil, whatever the size of the image."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...operators.arrays import accumulation_dtype, array_namespace, cast, require_floating

Array = Any


@dataclass(frozen=True)
class ConvolutionField:
    """A linear denoiser with a local stencil: `x0hat(x, t)[i] = sum_d k_t(d) x[i - d]`, indices on the torus.

    `kernel` is a stencil of odd height and width, its centre at d = 0, or a function of `t` that gives one. The same
    stencil serves every size (one larger than the image wraps around), as a convolutional network's does. It commutes
    with circular shifts bit for bit: every pixel is the same sum in the same order. Cost: taps x pixels. float16 and
    bfloat16 are summed in float32.

    Raises ValueError for a stencil without a centre pixel or with values that are not finite, TypeError for images of a
    dtype that is not real floating.
    """

    kernel: Array | Callable[[float], Array]

    def __post_init__(self) -> None:
        if not callable(self.kernel):
            self.stencil(0.0)

    def denoised(self, x: Array, t: float) -> Array:
        require_floating(self, x)
        return convolved(x, self.stencil(t))

    def stencil(self, t: float) -> np.ndarray:
        """The stencil at time `t`, float64 (odd, odd)."""
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
