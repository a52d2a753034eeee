"""What is asked of an operator as a matrix: its singular values, its regularised inverse, and whether its adjoint is.

Closed forms where an operator is isotropic (A A^T = g^2 I) or separable (A x = R x C^T).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from scipy.sparse import linalg  # type: ignore[import-untyped]

from .arrays import Array, accumulation_dtype, array_namespace, cast, device_of, require_floating
from .base import LinearOperator
from .fields import Held, holds
from .host_array import HostArray
from .noise import LinearPartner, NoisePartner
from .saved import serialisable
from .separable import Kronecker
from .shapes import Size

if TYPE_CHECKING:
    from .algebra import Scaled

DENSE = 2**11  # the most pixels whose dense matrix is taken: its singular values take seconds


@serialisable
@dataclass(frozen=True, init=False, repr=False)
class Diagonal(LinearOperator):
    """Multiply every pixel by a weight of its own.

    forward   y[i, j] = weights[i, j] x[i, j]        (..., H, W) -> (..., H, W)
    adjoint   the same

    `weights` is an (H, W) array of finite numbers (anything numpy reads), copied as float64. Isotropic where all have
    the same absolute value other than 0; the noise partner keeps the signs alone. Raises ValueError for other weights,
    ShapeError for images of another size, TypeError for a dtype that is not real floating. Source: linear algebra.
    """

    _weights: HostArray = field(metadata=holds(Held(2)))

    def __init__(self, weights: Any):
        self._take(_weights=weights)

    def _prepare(self) -> None:
        if self.weights.ndim != 2 or self.weights.size == 0:
            raise ValueError(f"weights must be an array of height x width, not of shape {self.weights.shape}")

    @property
    def weights(self) -> np.ndarray:
        """float64 (H, W), read-only."""
        return self._weights.values

    @property
    def gain(self) -> float | None:
        sizes = np.abs(self.weights)
        return float(sizes.flat[0]) if sizes.flat[0] > 0 and np.ptp(sizes) == 0 else None

    @property
    def preserves_constants(self) -> bool:
        return bool((self.weights == 1).all())

    @property
    def keeps_size(self) -> bool:
        return True

    def noise_partner(self) -> NoisePartner:
        if self.gain is not None:
            return super().noise_partner()
        return LinearPartner(self, Diagonal(np.where(self.weights < 0, -1.0, 1.0)))

    def _fault(self, size: Size) -> str | None:
        height, width = self.weights.shape
        return None if tuple(size) == (height, width) else f"its weights are of {height} x {width} pixels"

    def _nearest(self, size: Size) -> tuple[Size, ...]:
        return (self._in_size(size),)

    def _out_size(self, size: Size) -> Size:
        return self._in_size(size)

    def _in_size(self, size: Size) -> Size:
        return self.weights.shape[0], self.weights.shape[1]

    def _forward(self, x: Array) -> Array:
        require_floating(self, x)
        dtype = accumulation_dtype(x)
        weights = array_namespace(x).asarray(self.weights.copy(), dtype=dtype, device=device_of(x))
        return cast(cast(x, dtype) * weights, x.dtype)

    def _adjoint(self, y: Array, size: Size) -> Array:
        return self._forward(y)


def pseudoinverse(operator: LinearOperator, ridge: float, shape: Sequence[int] | None) -> LinearOperator:
    """See `LinearOperator.pseudoinverse`."""
    if not (math.isfinite(ridge) and ridge >= 0):
        raise ValueError(f"ridge must be finite and at least 0, not {ridge}")
    size = None if shape is None else (shape[-2], shape[-1])
    gain = operator.gain if size is None else operator.noise_gain(size)
    if gain is not None:
        scaled: Scaled = operator.transposed(size) * (1 / (gain**2 + ridge))
        return scaled
    if size is None:
        raise ValueError(f"{operator!r} is not isotropic for all sizes: give the input shape to invert it on")
    axes = operator.axes(size)
    if axes is None:
        raise ValueError(
            f"{operator!r} is neither isotropic nor separable, so its inverse has no closed form: "
            "give as_linear_operator(shape) to scipy.sparse.linalg.lsqr"
        )
    (u, s, vt), (p, t, qt) = (np.linalg.svd(axis, full_matrices=False) for axis in axes)
    singular = np.outer(s, t)
    # What is rounding beside the largest is 0: dividing by it would make noise of an image.
    seen = singular > singular.max(initial=0) * max(*axes[0].shape, *axes[1].shape) * np.finfo(np.float64).eps
    weights = np.divide(singular, singular**2 + ridge, out=np.zeros_like(singular), where=seen)
    return Kronecker(vt.T, qt.T) @ Diagonal(weights) @ Kronecker(u.T, p.T)


def singular_values(operator: LinearOperator, shape: Sequence[int]) -> np.ndarray | None:
    """All min(h w, H W) singular values in descending order, float64; None where they are too many to compute."""
    size, out = (shape[-2], shape[-1]), operator.out_shape(shape)[-2:]
    gain, axes = operator.noise_gain(size), operator.axes(size)
    if gain is not None:
        return np.full(math.prod(out), gain)
    if axes is not None:
        rows, columns = (np.linalg.svd(axis, compute_uv=False) for axis in axes)
        products = np.sort(np.outer(rows, columns), axis=None)[::-1]
        return np.pad(products, (0, min(math.prod(size), math.prod(out)) - len(products)))
    if max(math.prod(size), math.prod(out)) > DENSE:
        return None
    return np.linalg.svd(operator.matrix(size).toarray(), compute_uv=False)


def norm(operator: LinearOperator, shape: Sequence[int]) -> float:
    """See `LinearOperator.norm`."""
    values = singular_values(operator, shape)
    if values is not None:
        return float(values[0])
    free = operator.as_linear_operator(shape[-2:])
    start = np.random.default_rng(0).standard_normal(min(free.shape))
    (largest,) = linalg.svds(free, k=1, v0=start, return_singular_vectors=False)
    return float(largest)


def condition_number(operator: LinearOperator, shape: Sequence[int]) -> float:
    """See `LinearOperator.condition_number`."""
    values = singular_values(operator, shape)
    if values is None:
        raise ValueError(
            f"{operator!r} is neither isotropic nor separable, and {tuple(shape[-2:])} has more than {DENSE} pixels, "
            "too many for a dense matrix: ask for a smaller shape"
        )
    rounding = values[0] * len(values) * np.finfo(np.float64).eps
    return math.inf if values[-1] <= rounding else float(values[0] / values[-1])


class HasAdjoint(Protocol):
    """Anything that maps an array, and has an `adjoint` that maps one back to a shape."""

    def __call__(self, x: np.ndarray) -> np.ndarray: ...

    def adjoint(self, y: np.ndarray, shape: tuple[int, ...]) -> np.ndarray: ...


def check_adjoint(operator: HasAdjoint, shape: Sequence[int], seed: int = 0) -> float:
    """How far `operator.adjoint` is from being the adjoint: |<A x, y> - <x, A^T y>| / (|A x| |y| + |x| |A^T y|).

    For inputs of `shape` (leading dims included), on white noise x and y from `seed`, in numpy float64. A right adjoint
    gives about 1e-16, a wrong one some part of 1. For operators of one's own, before they are trusted:
    `assert check_adjoint(op, (3, 64, 64)) < 1e-12`. Infinite where shapes do not match or a value is not finite.

    Source: the dot-product test (Claerbout 1992).
    """
    rng = np.random.default_rng(seed)
    x = rng.standard_normal(tuple(shape))
    forward = np.asarray(operator(x))
    y = rng.standard_normal(forward.shape)
    back = np.asarray(operator.adjoint(y, x.shape))
    if back.shape != x.shape:
        return math.inf
    size = np.linalg.norm(forward) * np.linalg.norm(y) + np.linalg.norm(x) * np.linalg.norm(back)
    error = abs(np.vdot(forward, y) - np.vdot(x, back))
    if not (np.isfinite(size) and np.isfinite(error)):
        return math.inf
    return float(error / size) if size > 0 else 0.0
