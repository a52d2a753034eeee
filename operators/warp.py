"""Warps: every pixel shows the source where a flow points."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .config import Config, serialisable, take, text
from .host_array import HostArray
from .sampled import SampledOperator
from .sampling import FILLS, MODES, Sampling, sampling
from .shapes import Size
from .values import choice, whole

if TYPE_CHECKING:
    from typing_extensions import Self


@serialisable
@dataclass(frozen=True, init=False, repr=False)
class Warp(SampledOperator):
    """Show at pixel (i, j) the source at column j + dx and row i + dy, with (dx, dy) = flow[i, j] in pixels.

    forward   y[i, j] = sum_k w_k x[q_k]: four pixels around (j + dx, i + dy) with bilinear weights, or the nearest one
    adjoint   x[p] = sum of w_k y[i, j] over the q_k = p        (..., H, W) -> (..., H, W)

    A backward map, as cv2.remap and torch's grid_sample have it. `flow` is an (H, W, 2) array (anything numpy reads, or
    a torch tensor), copied as float64; `mode` is "bilinear" or "nearest" (half a pixel goes right and down); `fill` is
    what is outside: "edge", "reflect" (about the border pixel) or "zero". Not isotropic; its noise partner is
    `ConservativeSplit`. Warps with equal flows are equal. In torch, bilinear positions on images of up to 1024 pixels a
    side are rounded to the dtype, in float32 by 4e-8 of the side. Raises ValueError for a flow that is not finite or
    not of that shape, ShapeError for images of another size, TypeError for a dtype that is not real floating.

    Source: section 4 of arXiv 2604.09227 (warping); bilinear interpolation.
    """

    _flow: HostArray
    mode: str
    fill: str

    def __init__(self, flow: Any, mode: str = "bilinear", fill: str = "edge"):
        held = HostArray("flow", flow)
        shape = held.values.shape
        if len(shape) != 3 or shape[-1] != 2 or held.values.size == 0:
            raise ValueError(f"flow must be an array of height x width x 2, (dx, dy), not of shape {shape}")
        object.__setattr__(self, "_flow", held)
        object.__setattr__(self, "mode", choice("mode", mode, MODES))
        object.__setattr__(self, "fill", choice("fill", fill, FILLS))
        size = self._in_size((0, 0))
        # Ready from the start: torch.compile can take tables that are there, not build them from a digest.
        object.__setattr__(self, "_table", sampling(*self._positions(size), size, self.mode, self.fill))

    def __reduce__(self) -> tuple[type, tuple[np.ndarray, str, str]]:
        return type(self), (self.flow, self.mode, self.fill)  # the tables are made again, not carried along

    @property
    def flow(self) -> np.ndarray:
        """(dx, dy) in pixels, float64 (H, W, 2), read-only."""
        return self._flow.values

    def on_cells(self, pixels: int) -> Warp:
        """The mean of the flow in each cell, in cells; raises ValueError unless `pixels` divides H and W."""
        cell, (height, width) = whole("pixels", pixels, 1), self.flow.shape[:2]
        if height % cell or width % cell:
            raise ValueError(f"{self!r} has no whole number of cells of {cell} pixels: pad or crop the flow before")
        blocks = self.flow.reshape(height // cell, cell, width // cell, cell, 2)
        return Warp(blocks.mean(axis=(1, 3)) / cell, self.mode, self.fill)

    def _positions(self, size: Size) -> tuple[np.ndarray, np.ndarray]:
        rows, columns = np.indices(self.flow.shape[:2])
        return columns + self.flow[..., 0], rows + self.flow[..., 1]

    def _sampling(self, size: Size, tracing: bool = False) -> Sampling:
        return self._table  # type: ignore[attr-defined]

    def _fault(self, size: Size) -> str | None:
        height, width = self._in_size(size)
        return None if tuple(size) == (height, width) else f"its flow is of {height} x {width} pixels"

    def _nearest(self, size: Size) -> tuple[Size, ...]:
        return (self._in_size(size),)

    def _out_size(self, size: Size) -> Size:
        return self._in_size(size)

    def _in_size(self, size: Size) -> Size:
        return self.flow.shape[0], self.flow.shape[1]

    def _config(self) -> Config:
        return {"flow": self._flow.to_config(), "mode": self.mode, "fill": self.fill}

    @classmethod
    def _from_config(cls, config: Config, depth: int) -> Self:
        flow, mode, fill = take(cls.__name__, config, "flow", "mode", "fill")
        held = HostArray.from_config("flow", flow, 3, ["float32", "float64"])
        return cls(held.values, text("mode", mode), text("fill", fill))

    def __repr__(self) -> str:
        return f"Warp({self._flow}, mode={self.mode!r}, fill={self.fill!r})"
