"""The commutator of an operator with a field: how far denoising first is from transforming first.

Denoised form: `[A, f](x, t) = A x0hat(x, t) - x0hat(c A x, t')` with `(c, t')` the path's transport. For noise gain 1
on a rectified flow this is `-t` times the paper's `[D, v] = D v(x, t) - v(D x, t)` (arXiv 2604.09227).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from array_api_compat import array_namespace

from ..operators import LinearOperator
from .fields import Field
from .path import Path, RectifiedFlow
from .transport import Transport

Array = Any


def sample_norm(x: Array) -> Array:
    """Euclidean norm of each sample: (batch, ...) -> (batch,). Half precisions accumulate in float32."""
    xp = array_namespace(x)
    if x.dtype not in (xp.float32, xp.float64):
        x = xp.astype(x, xp.float32)
    flat = xp.reshape(x, (x.shape[0], -1))
    return xp.sqrt(xp.sum(flat * flat, axis=1))


def commutator(
    operator: LinearOperator, field: Field, path: Path | None = None, *, time: str = "matched"
) -> Callable[[Array, float], Array]:
    """The commutator as a function of state and time.

    Args:
        operator: an isotropic linear operator (its noise gain moves the time); one of gain 1 that permutes pixels, as
            selections and rolls do, keeps the time and works on any field.
        field: anything with `denoised(x, t)`.
        path: the probability path; rectified flow unless given.
        time: "matched", or "same" to keep the time (only meaningful for noise gain 1, where both agree).

    Returns:
        `f(x, t)` for x (batch, ..., height, width): the commutator in denoised form, shaped like `operator(x)`.

    Raises:
        ValueError: before any evaluation, when the operator is not isotropic on x's shape (Translate, a warp: see
            Manipulation) or does not keep constants.
    """
    sides = _sides(operator, field, path, time)

    def at(x: Array, t: float) -> Array:
        first, second = sides(x, t)
        return first - second

    return at


def commutator_norm(
    operator: LinearOperator, field: Field, path: Path | None = None, *, time: str = "matched", relative: bool = False
) -> Callable[[Array, float], Array]:
    """Per-sample Euclidean norm of the commutator, (batch,); `relative` divides by the norm of `A x0hat`."""
    sides = _sides(operator, field, path, time)

    def norm(x: Array, t: float) -> Array:
        first, second = sides(x, t)
        value = sample_norm(first - second)
        return value / sample_norm(first) if relative else value

    return norm


def both_sides(transport: Transport, field: Field, x: Array, t: float, high: Array) -> tuple[Array, Array]:
    """`A x0hat(x, t)` and `x0hat(c A x, t')` for `high` = x0hat(x, t); one evaluation of the field."""
    return transport.operator(high), field.denoised(transport.state(x, t, high), transport.moved(t))


def _sides(
    operator: LinearOperator, field: Field, path: Path | None, time: str
) -> Callable[[Array, float], tuple[Array, Array]]:
    the_path = RectifiedFlow() if path is None else path

    def at(x: Array, t: float) -> tuple[Array, Array]:
        transport = Transport.of(operator, the_path, x.shape, time)
        return both_sides(transport, field, x, t, field.denoised(x, t))

    return at
