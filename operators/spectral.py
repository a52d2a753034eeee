"""Operators on frequencies: the ideal low-pass resizes, and shifts by any part of a pixel.

The bases are plain numpy that torch.compile can trace. Angles are reduced to one turn in integers, so that long axes
lose no digits.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np

from .arrays import Array, accumulation_dtype, array_namespace, cast, device_of
from .base import SameSize
from .fields import RealNumber, Whole, holds
from .noise import NoisePartner
from .resize import ResizeOperator
from .saved import serialisable
from .separable import FreshComplement, SeparableOperator
from .shapes import Size

if TYPE_CHECKING:
    from typing_extensions import Self


class BasisCrop(ResizeOperator):
    """Coefficients of one length carried over to another, on each axis, with the factor that keeps constants.

    forward   y = sqrt(h w / (H W)) B_h^T crop(B_H x B_W^T) B_w        (..., H, W) -> (..., h, w)

    A new one defines `_basis`. Where no axis goes up, A A^T = (h w / (H W)) I exactly.
    """

    @staticmethod
    @abstractmethod
    def _basis(length: int) -> np.ndarray:
        """B_n, one row per basis function, low frequencies first: orthonormal, (length, length)."""

    @classmethod
    def by(cls, scale: int | Fraction | tuple) -> Self:
        """The crop to a size `scale` times smaller, for example by(2) or by(Fraction(4, 3))."""
        return cls(scale=scale)

    @property
    def gain(self) -> float | None:
        return None if self.scale is None else 1 / math.sqrt(self.scale[0] * self.scale[1])

    def noise_gain(self, shape: Sequence[int]) -> float | None:
        *_, height, width = self.out_shape(shape)
        return None if height > shape[-2] or width > shape[-1] else math.sqrt(height * width / (shape[-2] * shape[-1]))

    def noise_partner(self) -> NoisePartner:
        return FreshComplement(self) if self.gain is None else super().noise_partner()

    def _axis(self, axis: int, length: int) -> np.ndarray:
        return math.sqrt(self._length(axis, length) / length) * self._isometry(axis, length)

    def _isometry(self, axis: int, length: int) -> np.ndarray:
        return carried(self._basis(length), self._basis(self._length(axis, length)))


@serialisable
@dataclass(frozen=True, init=False, repr=False)
class SpectralCrop(BasisCrop):
    """Keep the lowest h x w DCT-II coefficients, with zeros for those that are not there: resize without aliasing.

    forward   y = sqrt(h w / (H W)) C_h^T crop(C_H x C_W^T) C_w        (..., H, W) -> (..., h, w)
    adjoint   x = sqrt(h w / (H W)) C_H^T crop^T(C_h y C_w^T) C_W      (C_n the orthonormal DCT-II of length n)

    The factor keeps constants. Where no axis goes up, A A^T = (h w / (H W)) I exactly. The target is said in one of two
    ways:

    - `SpectralCrop((h, w))`: that size from any size, each axis down or up. `gain` is None since it depends on the
      input; `noise_gain(shape)` tells it, None where an axis goes up. The noise partner keeps the given low frequencies
      and draws the high ones afresh that an axis going up adds. `adjoint` needs the input shape.
    - `SpectralCrop.by(scale)`: `scale` (an int or a Fraction of at least 1, or one each for height and width) times
      smaller. `gain` is 1/sqrt(sy sx) and `adjoint` infers the shape, as for the operators on blocks.

    Rings at edges, as every ideal low-pass does. Two small dense matrix products. Raises ShapeError for an input that
    `scale` does not divide into whole pixels, TypeError for a dtype that is not real floating.

    Source: DCT-domain resizing; gain and constants follow from the orthonormality of C_n.
    """

    _scale_goes_up = False
    _way_up = "to go up, give the target shape"

    @staticmethod
    def _basis(length: int) -> np.ndarray:
        return cosine_basis(length)


@serialisable
@dataclass(frozen=True, init=False, repr=False)
class FourierCrop(BasisCrop):
    """Keep the lowest h x w frequencies of an image that repeats: resize to any smaller size without aliasing.

    forward   y = sqrt(h w / (H W)) F_h^T (F_H x F_W^T)[:h, :w] F_w        (..., H, W) -> (..., h, w)
    adjoint   x = sqrt(h w / (H W)) F_H[:h]^T (F_h y F_w^T) F_W[:w]        (F_n: `fourier_basis`)

    F_n is the orthonormal real Fourier basis at pixel centres, so target pixel j lies at source coordinate
    (j + 1/2) W/w - 1/2 and A A^T = (h w / (H W)) I exactly, for even and odd sizes. At an even target smaller than the
    source, one component of frequency w/2 is kept of two: sin(pi w/W (i + 1/2)), the one the target pixels can show;
    its amplitude comes out 1/sqrt(2) times as large as they would sample it, which is what keeps the rows orthogonal.

    `FourierCrop((h, w))` takes any size at least as large; its gain depends on the input (`noise_gain`, `gain` None)
    and `adjoint` needs the input shape. `FourierCrop.by(scale)` makes any size `scale` times smaller (an int or a
    Fraction, or one each), with gain 1/sqrt(sy sx). Left and right borders touch, and so do top and bottom: an image
    that does not repeat rings there, and `SpectralCrop` suits it better. Raises ShapeError for an input smaller than
    (h, w) or one that `scale` does not divide into whole pixels, TypeError for a dtype that is not real floating.

    Source: trigonometric interpolation; gain and constants follow from the orthonormality of F_n.
    """

    _shape_goes_up = _scale_goes_up = False
    _way_up = "to go up, take SpectralCrop or the transposed of a FourierCrop"

    @staticmethod
    def _basis(length: int) -> np.ndarray:
        return fourier_basis(length)


@serialisable
@dataclass(frozen=True, repr=False)
class FourierShift(SameSize, SeparableOperator):
    """Move an image that repeats by dx pixels to the right and dy down, by any part of a pixel.

    forward   y[j] = sum_k X_k exp(2 pi i k (j - d) / n), X the Fourier coefficients, on each axis
              (..., H, W) -> (..., H, W)
    adjoint   the shift by (-dx, -dy)

    What leaves on one side comes in on the other. By whole pixels it is a circular roll. An axis of odd length, or one
    moved by whole pixels, is moved by an orthogonal matrix: gain 1 (`noise_gain`; `gain` is 1 only where it is so for
    every size). On an even length the frequency n/2 has no sine to turn into, so it comes out cos(pi d) times as large:
    by half a pixel it is gone. There the noise partner adds fresh noise of that one frequency, sqrt(1 - cos^2) of it,
    and leaves the rest as it is. Rings at edges that do not repeat. Raises ValueError unless dx and dy are finite,
    TypeError for a dtype that is not real floating.

    Source: the shift theorem; trigonometric interpolation.
    """

    dx: float = field(default=0.0, metadata=holds(RealNumber()))
    dy: float = field(default=0.0, metadata=holds(RealNumber()))

    @property
    def gain(self) -> float | None:
        return 1.0 if self.dx.is_integer() and self.dy.is_integer() else None

    @property
    def preserves_constants(self) -> bool:
        return True

    def noise_gain(self, shape: Sequence[int]) -> float | None:
        self.out_shape(shape)
        return None if self._loses(0, shape[-2]) or self._loses(1, shape[-1]) else 1.0

    def noise_partner(self) -> NoisePartner:
        return FreshNyquist(self) if self.gain is None else super().noise_partner()

    def on_cells(self, pixels: int) -> FourierShift:
        cells = Whole(1).take("pixels", pixels)
        return FourierShift(self.dx / cells, self.dy / cells)

    def _loses(self, axis: int, length: int) -> bool:
        """Whether an axis of `length` loses some of its frequency n/2."""
        return length % 2 == 0 and not (self.dy, self.dx)[axis].is_integer()

    def _axis(self, axis: int, length: int) -> np.ndarray:
        # A whole turn is taken off in advance: the rest of a long way keeps all its digits.
        d = (self.dy, self.dx)[axis] % length
        return fourier_basis(length, d).T @ fourier_basis(length)


@dataclass(frozen=True, repr=False)
class FreshNyquist(NoisePartner):
    """The noise partner of a Fourier shift.

    forward   A n, plus sin(pi d) u on the frequency n/2 of every even axis that loses some of it, u fresh
              (..., H, W) -> (..., H, W)

    One axis at a time: an even axis turns I into I - sin^2(pi d) v v^T, v the unit vector of frequency n/2, and
    sin(pi d) v u^T adds what is missing. Exact.
    """

    operator: FourierShift

    def _fresh_count(self, size: Size) -> int:
        height, width = size
        return width * self.operator._loses(0, height) + height * self.operator._loses(1, width)

    def _combined(self, noise: Array, fresh: Array) -> Array:
        xp, (*lead, height, width) = array_namespace(noise), noise.shape
        dtype = accumulation_dtype(noise)
        moved, fresh, used = FourierShift(dy=self.operator.dy)(cast(noise, dtype)), cast(fresh, dtype), 0
        if self.operator._loses(0, height):
            used = width
            moved = moved + self._lost(0, height, noise)[:, None] * xp.reshape(fresh[..., :used], (*lead, 1, width))
        moved = FourierShift(dx=self.operator.dx)(moved)
        if self.operator._loses(1, width):
            moved = moved + self._lost(1, width, noise) * xp.reshape(fresh[..., used:], (*lead, height, 1))
        return cast(moved, noise.dtype)

    def _lost(self, axis: int, length: int, like: Array) -> Array:
        """sin(pi d) v beside `like`, in the dtype to sum in."""
        d = (self.operator.dy, self.operator.dx)[axis]
        values = math.sin(math.pi * (d % 2)) * np.array(fourier_basis(length)[-1])
        return array_namespace(like).asarray(values, dtype=accumulation_dtype(like), device=device_of(like))


def cosine_basis(length: int) -> np.ndarray:
    """The orthonormal DCT-II: C[k, i] = sqrt(2/n) cos(pi k (2 i + 1) / (2 n)), row 0 divided by sqrt(2)."""
    k, i = np.arange(length)[:, None], np.arange(length)[None, :]
    turns = k * (2 * i + 1) % (4 * length)
    basis = np.cos(turns * (np.pi / (2 * length))) * math.sqrt(2 / length)
    return np.where(k == 0, math.sqrt(1 / length), basis)


def fourier_basis(length: int, shift: float = 0.0) -> np.ndarray:
    """The orthonormal real Fourier basis at pixel centres: 1, sin 1, cos 1, sin 2, cos 2, ... (n x n).

    F[r, i] = sqrt(2/n) sin or cos(2 pi k (i + 1/2 - shift) / n), k = (r + 1) // 2; the constant row and, for even n,
    the last one (the Nyquist frequency n/2, a sine) divided by sqrt(2). With `shift`, the basis functions moved.
    """
    r, i = np.arange(length)[:, None], np.arange(length)[None, :]
    k = (r + 1) // 2
    turns = k * (2 * i + 1) % (2 * length)
    angle = turns * (np.pi / length) - k * (2 * np.pi * shift / length)
    alone = (r == 0) | (2 * k == length)
    return np.where(r % 2 == 1, np.sin(angle), np.cos(angle)) * np.where(
        alone, math.sqrt(1 / length), math.sqrt(2 / length)
    )


def carried(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Coefficients in the basis `source` (n x n) become those in `target` (m x m); what is missing is 0: (m, n)."""
    kept = min(len(source), len(target))
    return target[:kept].T @ source[:kept]
