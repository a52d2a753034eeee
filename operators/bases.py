"""Orthonormal bases of an axis, low frequencies first, and what keeps some of one basis in another length.

Plain numpy that torch.compile can trace. Angles are reduced to one turn in integers, so that long axes lose no digits.
"""

import math

import numpy as np


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
