"""Operators of noise gain 1 that move pixels, for fields that commute with them."""

from dataclasses import dataclass

import numpy as np

from commutant.operators import LinearOperator
from commutant.operators.arrays import array_namespace, take_pixels


class _Permutation(LinearOperator):
    """What all of them share: any size, kept; A A^T = I; rows that sum to 1."""

    gain = 1.0
    preserves_constants = True
    keeps_size = True

    def _fault(self, size):
        return None

    def _out_size(self, size):
        return size

    def _in_size(self, size):
        return size


@dataclass(frozen=True)
class Roll(_Permutation):
    """y[i, j] = x[i - dy, j - dx] on the torus."""

    dy: int
    dx: int

    def _forward(self, x):
        return array_namespace(x).roll(x, (self.dy, self.dx), axis=(-2, -1))

    def _adjoint(self, y, size):
        return array_namespace(y).roll(y, (-self.dy, -self.dx), axis=(-2, -1))


@dataclass(frozen=True)
class Mirror(_Permutation):
    """Left and right swap places."""

    def _forward(self, x):
        return array_namespace(x).flip(x, axis=-1)

    def _adjoint(self, y, size):
        return self._forward(y)


@dataclass(frozen=True)
class Shuffle(_Permutation):
    """Pixels in an order drawn from a seed: it keeps no neighbourhood."""

    seed: int

    def _order(self, size):
        return np.random.default_rng(self.seed).permutation(size[0] * size[1]).reshape(size)

    def _forward(self, x):
        return take_pixels(x, self._order(x.shape[-2:]))

    def _adjoint(self, y, size):
        return take_pixels(y, np.argsort(self._order(size).ravel()).reshape(size))


@dataclass(frozen=True)
class OddFourierCrop(LinearOperator):
    """Keep the low frequencies on the torus, odd sizes only: both spectra are symmetric, so A A^T = (h w / H W) I."""

    height: int
    width: int

    preserves_constants = True

    def noise_gain(self, shape):
        return float(np.sqrt(self.height * self.width / (shape[-2] * shape[-1])))

    def _fault(self, size):
        odd = all(n % 2 for n in (*size, self.height, self.width))
        return None if odd and size[0] >= self.height and size[1] >= self.width else "needs odd sizes, not smaller"

    def _out_size(self, size):
        return self.height, self.width

    def _forward(self, x):
        spectrum = np.fft.fft2(x, norm="forward")
        rows, columns = (np.rint(np.fft.fftfreq(n) * n).astype(int) for n in (self.height, self.width))
        kept = spectrum[..., rows[:, None], columns[None, :]]
        return np.fft.ifft2(kept, norm="forward").real

    def _adjoint(self, y, size):
        raise NotImplementedError("not asked for here")
