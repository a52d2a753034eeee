"""What every operator owes, as measurements.

Each law takes an operator, an input size and a generator, and returns how far the operator is from keeping it: a
non-negative number, 0 for perfect. Nothing here asserts; `test_laws.py` compares with TOLERANCE, and
`test_broken.py` shows that each law tells a broken operator from a sound one.
"""

import dataclasses
import json
import re
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from scipy import stats

from commutant import operators
from commutant.operators import LinearOperator, NoisePartner, Stack, Sum
from commutant.operators.host_array import HostArray

TOLERANCE = 1e-11  # float64, images of at most a few hundred pixels
ALPHA = 1e-5  # false-alarm rate of one noise report: a sound operator fails once in 100,000 seeds


def relative(a, b) -> float:
    """Largest difference between two arrays, in units of the larger one; infinite if the shapes differ or on nan."""
    a, b = np.asarray(a), np.asarray(b)
    if a.shape != b.shape:
        return np.inf
    scale = max(np.abs(a).max(initial=0), np.abs(b).max(initial=0), 1e-30)
    error = np.abs(a - b).max(initial=0) / scale
    return float(error) if np.isfinite(error) else np.inf


def adjoint(op: LinearOperator, size, rng) -> float:
    """<A x, y> = <x, A^T y>. The difference counts whatever its sign."""
    x = rng.normal(size=(2, *size))
    y = rng.normal(size=op.out_shape(x.shape))
    left, right = np.vdot(op(x), y), np.vdot(x, op.adjoint(y, x.shape))
    return float(abs(left - right) / (np.linalg.norm(x) * np.linalg.norm(y)))


def linear(op, size, rng) -> float:
    """A(a x + y) = a A x + A y."""
    x, y = rng.normal(size=(2, *size))
    return relative(op(3.5 * x + y), 3.5 * op(x) + op(y))


def matrix_equals_function(op, size, rng) -> float:
    """The matrix times the flattened image is the flattened output, and its transpose the adjoint."""
    x = rng.normal(size=size)
    y = rng.normal(size=op.out_shape(size))
    matrix = op.matrix(size)
    forward = relative(matrix @ x.ravel(), op(x).ravel())
    backward = relative(matrix.T @ y.ravel(), op.adjoint(y, size).ravel())
    return max(forward, backward)


def gram(op, size, rng) -> float:
    """A A^T = g^2 I, wherever the operator names a g; also g itself, where `gain` says it once for all sizes."""
    gain = op.noise_gain(size)
    if gain is None:
        return np.inf if op.isotropic else 0.0
    images = np.eye(np.prod(op.out_shape(size))).reshape(-1, *op.out_shape(size))
    columns = op(op.adjoint(images, size)).reshape(len(images), -1)
    claimed = gain if op.gain is None else op.gain
    return max(relative(columns, gain**2 * np.eye(len(images))), abs(claimed - gain))


def constants(op, size, rng) -> float:
    """A constant image keeps its value where the operator says so."""
    out = op(np.full(size, 3.0))
    return relative(out, np.full(out.shape, 3.0)) if op.preserves_constants else 0.0


def leading_dims(op, size, rng) -> float:
    """A batch of videos is mapped image by image."""
    x = rng.normal(size=(2, 1, 3, *size))
    singly = np.stack([op(image) for image in x.reshape(-1, *size)])
    back = np.stack([op.adjoint(image, size) for image in singly])
    batch = op(x)
    whole = relative(batch, singly.reshape(2, 1, 3, *singly.shape[1:]))
    return max(whole, relative(op.adjoint(batch, x.shape), back.reshape(x.shape)))


def shapes_as_announced(op, size, rng) -> float:
    """`out_shape` is the shape of the output, leading dims included, and `in_shape` inverts it where it answers."""
    x = rng.normal(size=(2, 3, *size))
    wrong = op(x).shape != op.out_shape(x.shape) or op.out_shape(size) != op(x).shape[2:]
    if not wrong and op._in_size(op.out_shape(size)) is not None:
        wrong |= op.in_shape(op.out_shape(x.shape)) != x.shape
        wrong |= not np.array_equal(op.adjoint(op(x)), op.adjoint(op(x), size))
    return float(wrong)


def scipy_form(op, size, rng) -> float:
    """`as_linear_operator` is the matrix: on a vector, on several, and transposed."""
    matrix, free = op.matrix(size), op.as_linear_operator(size)
    v, u = rng.normal(size=(matrix.shape[1], 3)), rng.normal(size=(matrix.shape[0], 3))
    pairs = (free @ v, matrix @ v), (free.H @ u, matrix.T @ u), (free @ v[:, 0], matrix @ v[:, 0])
    return max(np.inf if free.shape != matrix.shape else relative(a, b) for a, b in pairs)


def noise_partner_is_white(op, size, rng) -> float:
    """What the noise partner makes of white noise is white, exactly: its joint Gram matrix is the identity.

    For an isotropic operator the partner is a linear operator, with gain 1: the operator itself if that has gain 1.
    """
    if isinstance(op, Sum | Stack):
        return without_partner(op)
    partner = op.noise_partner()
    white = relative(joint_gram(partner, size), np.eye(np.prod(op.out_shape(size))))
    if not op.isotropic:
        return white
    return max(white, float((partner.carrier is op) != (op.gain == 1)), gram(partner.carrier, size, rng))


def without_partner(op) -> float:
    """Sums and stacks know of no partner, and say so."""
    try:
        op.noise_partner()
    except ValueError as error:
        return float("has no noise partner" not in str(error) or op.isotropic)
    return np.inf


def joint_gram(partner: NoisePartner, size) -> np.ndarray:
    """M M^T + F F^T of a partner `M noise + F fresh`."""
    pixels, count = size[0] * size[1], partner.fresh_shape(size)[-1]
    joint = np.eye(pixels + count)
    out = partner.combined(joint[:, :pixels].reshape(-1, *size), joint[:, pixels:])
    columns = out.reshape(len(joint), -1)
    return columns.T @ columns


def coverage(op, size, rng) -> float:
    """A map of the output, from 0 to 1."""
    seen = op.coverage(size)
    return float(seen.shape != op.out_shape(size) or seen.min() < 0 or seen.max() > 1)


def saved_form(op, size, rng) -> float:
    """Through JSON and back it is the same operator, with the same hash."""
    again = LinearOperator.from_dict(json.loads(json.dumps(op.to_dict())))
    difference = np.abs(again.matrix(size) - op.matrix(size)).max()
    return max(float(again != op or hash(again) != hash(op)), float(difference))


def readable_repr(op, size, rng) -> float:
    """The repr is the expression that builds the operator, with arrays as `<4x4 name digest>`."""
    held = {str(array): f"held_{k}" for k, array in enumerate(held_arrays(op))}
    names = {f"held_{k}": array.values for k, array in enumerate(held_arrays(op))}
    expression = re.sub(r"<\d+(x\d+)* \w+ [0-9a-f]{8}>", lambda shown: held.get(shown[0], "unknown"), repr(op))
    try:
        return float(eval(expression, {"Fraction": Fraction, **vars(operators), **names}) != op)
    except NameError:
        return np.inf


def held_arrays(part) -> list[HostArray]:
    """The arrays in an operator, or in the operators it is made of."""
    if isinstance(part, HostArray):
        return [part]
    if isinstance(part, LinearOperator):
        part = [getattr(part, field.name) for field in dataclasses.fields(part)]
    return [array for inner in part for array in held_arrays(inner)] if isinstance(part, tuple | list) else []


LAWS = [
    adjoint,
    linear,
    matrix_equals_function,
    gram,
    constants,
    leading_dims,
    shapes_as_announced,
    scipy_form,
    noise_partner_is_white,
    coverage,
    saved_form,
    readable_repr,
]


def partition(family, size) -> float:
    """Selections are 0/1, mutually exclusive, and together take every pixel once: sum of A^T A = I, A_i A_j^T = 0."""
    matrices = [op.matrix(size) for op in family]
    values = max(float(np.abs(m.data - 1).max(initial=0)) for m in matrices)
    cover = sum(m.T @ m for m in matrices).toarray()
    overlap = max((abs(a @ b.T).max() for i, a in enumerate(matrices) for b in matrices[:i]), default=0.0)
    return max(values, float(overlap), float(np.abs(cover - np.eye(len(cover))).max()))


def gradient(op, size, rng) -> float:
    """torch's gradient of <A x, y> in x is A^T y, and that of <x, A^T y> in y is A x."""
    import torch

    x = torch.tensor(rng.normal(size=size), requires_grad=True)
    y = torch.tensor(rng.normal(size=op.out_shape(size)), requires_grad=True)
    worst = 0.0
    for value, wanted, at in (
        ((op(x) * y.detach()).sum(), op.adjoint(y, size), x),
        ((x.detach() * op.adjoint(y, size)).sum(), op(x), y),
    ):
        (slope,) = torch.autograd.grad(value, at, allow_unused=True) if value.requires_grad else (None,)
        worst = max(worst, np.inf if slope is None else relative(slope, wanted.detach()))
    return worst


@dataclass(frozen=True)
class NoiseReport:
    """p-values of four questions to the output of white unit noise: is it still that?"""

    variance: float  # chi-square of the sum of squares
    rows: float  # lag-1 covariance from row to row
    columns: float  # and from column to column
    distribution: float  # Kolmogorov-Smirnov against N(0, 1)

    @property
    def p(self) -> float:
        """The p-value of the whole report, corrected for asking four questions (Bonferroni)."""
        return min(1.0, 4 * min(self.variance, self.rows, self.columns, self.distribution))


def noise(carry, size, rng, images: int = 256) -> NoiseReport:
    """Map white unit noise through `carry`, a function of the noise, and question the result."""
    out = carry(rng.normal(size=(images, *size)))
    n = out.size
    chi = stats.chi2(n).cdf(np.square(out).sum())
    lags = (out[..., 1:, :] * out[..., :-1, :], out[..., 1:] * out[..., :-1])
    rows, columns = (2 * stats.norm.sf(abs(lag.sum()) / np.sqrt(lag.size)) if lag.size else 1.0 for lag in lags)
    ks = stats.kstest(out.ravel(), "norm").pvalue
    return NoiseReport(float(2 * min(chi, 1 - chi)), float(rows), float(columns), float(ks))
