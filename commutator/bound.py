"""How far a low-resolution run can drift from the transformed high-resolution run: a bound by the commutator.

In the coordinates u = x / alpha, s = sigma / alpha transport is the plain map u -> A u, s -> g s, the flow is
`du/ds = (u - x0hat) / s` and an Euler step (DDIM) is `u' = r u + (1 - r) x0hat` with r = s' / s, on every path. With y
the low-resolution run, z = A u the transformed one, C the commutator on it and e = y - z,

    step   e' = r e + (1 - r) (x0hat(y) - x0hat(z) - C)
    flow   de / dl = -e + x0hat(y) - x0hat(z) - C,      l = -log s.

Where x0hat is K-Lipschitz in u, with norms for letters, `e' <= (r + (1 - r) K) e + (1 - r) C` and, by Gronwall,
`e(l) <= integral exp((K - 1) (l - m)) C(m) dm`. K < 1 forgets a commutator, K > 1 amplifies it. Both bounds are
attained by a linear x0hat = K u and a constant C. Deviations are given back in x, as alpha e.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike

from .path import Path


def deviation_bound(norms: ArrayLike, times: Sequence[float], lipschitz: ArrayLike, path: Path) -> np.ndarray:
    """Bound on |y_k - c A x_k| for Euler steps without guidance, from the same start: float64 (K + 1, ...).

    Args:
        norms: commutator norms on the high-resolution states x_0..x_{K-1}, (K,) or (K, batch); see `measure`.
        times: the K + 1 decreasing times of the low-resolution run, the matched ones.
        lipschitz: Lipschitz constants of x0hat(x, t) in x at low resolution, at each of the first K times, or one.
        path: the path of both runs.

    Raises ValueError for counts that do not fit, negative or non-finite values, and times that do not decrease.
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
