"""Strided selection: one pixel of every block, the family of the paper."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .arrays import Array, Namespace, array_namespace
from .blocks import BlockOperator
from .config import Config, pair, serialisable, take
from .shapes import Size
from .values import whole, whole_pair

if TYPE_CHECKING:
    from typing_extensions import Self


@serialisable
@dataclass(frozen=True, init=False, repr=False)
class StridedSelection(BlockOperator):
    """Keep the pixel at `phase` of every sy x sx block.

    forward   y[i, j] = x[sy i + py, sx j + px]          (..., H, W) -> (..., H/sy, W/sx)
    adjoint   x[sy i + py, sx j + px] = y[i, j], the rest 0

    A 0/1 matrix with gain 1: white noise stays white, the signal aliases. The forward is a view where the array
    library has views, and any dtype will do. `scale` is s or (sy, sx); `phase` is (py, px) or the row-major index
    k = py sx + px of the pixel in its block. Raises ShapeError unless sy divides H and sx divides W.

    Source: the mutually exclusive operators D_k of arXiv 2604.09227.
    """

    scale: tuple[int, int]
    phase: tuple[int, int]

    def __init__(self, scale: int | tuple[int, int], phase: int | tuple[int, int] = 0):
        sy, sx = whole_pair("scale", scale, 1)
        py, px = phase if isinstance(phase, tuple | list) else divmod(whole("phase", phase, 0), sx)
        py, px = whole("phase", py, 0), whole("phase", px, 0)
        if py >= sy or px >= sx:
            raise ValueError(f"phase ({py}, {px}) lies outside its {sy} x {sx} block")
        object.__setattr__(self, "scale", (sy, sx))
        object.__setattr__(self, "phase", (py, px))

    @classmethod
    def family(cls, scale: int | tuple[int, int]) -> "tuple[Self, ...]":
        """All sy sx selections in row-major order of phase: every input pixel is kept by exactly one of them."""
        sy, sx = whole_pair("scale", scale, 1)
        return tuple(cls((sy, sx), k) for k in range(sy * sx))

    @property
    def gain(self) -> float:
        return 1.0

    def axes(self, shape: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        self.out_shape(shape)
        (sy, sx), (py, px) = self.scale, self.phase
        return np.eye(shape[-2])[py::sy], np.eye(shape[-1])[px::sx]

    def _forward(self, x: Array) -> Array:
        (sy, sx), (py, px) = self.scale, self.phase
        return x[..., py::sy, px::sx]

    def _adjoint(self, y: Array, size: Size) -> Array:
        xp = array_namespace(y)
        (sy, sx), (py, px) = self.scale, self.phase
        *lead, height, width = y.shape
        blocks = xp.reshape(y, (*lead, height, 1, width, 1))
        for axis, before, after in ((-3, py, sy - 1 - py), (-1, px, sx - 1 - px)):
            blocks = _padded(xp, blocks, axis, before, after)
        return xp.reshape(blocks, (*lead, *size))

    def _config(self) -> Config:
        return {"scale": list(self.scale), "phase": list(self.phase)}

    @classmethod
    def _from_config(cls, config: Config, depth: int) -> "Self":
        scale, phase = take(cls.__name__, config, "scale", "phase")
        return cls(pair("scale", scale, 1), pair("phase", phase, 0))

    def __repr__(self) -> str:
        sy, sx = self.scale
        return f"StridedSelection({sy if sy == sx else self.scale}, phase={self.phase})"


def _padded(xp: Namespace, blocks: Array, axis: int, before: int, after: int) -> Array:
    zero = xp.zeros_like(blocks)
    return xp.concat([zero] * before + [blocks] + [zero] * after, axis=axis)
