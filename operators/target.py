"""Operators that resize to a target: one fixed size, or a scale."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from typing import TYPE_CHECKING, ClassVar

from .config import Config, pair, ratio, take
from .separable import SeparableOperator
from .shapes import Size, divided, indivisible, multiplied, nearest_divisible
from .values import ratio_pair, whole, whole_pair

if TYPE_CHECKING:
    from typing_extensions import Self


@dataclass(frozen=True, init=False, repr=False)
class ResizeOperator(SeparableOperator):
    """Resize to `shape` (h, w) from any size, or to a size `scale` times smaller; one of the two is given.

    `scale` is exact: an int or a Fraction, or one each for height and width. With `shape` the input size does not
    follow from the output: `adjoint` needs it. Raises ShapeError for an input that `scale` does not divide into whole
    pixels.
    """

    shape: Size | None
    scale: tuple[Fraction, Fraction] | None
    _shape_goes_up: ClassVar[bool] = True  # whether the target shape may be larger than the input
    _scale_goes_up: ClassVar[bool] = True  # whether the scale may be below 1
    _way_up: ClassVar[str] = ""  # what to use instead where one of these may not

    def __init__(self, shape: Size | None = None, *, scale: int | Fraction | tuple | None = None):
        if (shape is None) == (scale is None):
            raise TypeError(f"{type(self).__name__} takes a target shape (height, width) or a scale, one of the two")
        object.__setattr__(self, "shape", None if shape is None else whole_pair("shape", shape, 1))
        object.__setattr__(self, "scale", None if scale is None else ratio_pair("scale", scale))
        if self.scale is not None and min(self.scale) < 1 and not self._scale_goes_up:
            raise ValueError(f"scale must be at least 1, not {min(self.scale)}; {self._way_up}")

    @property
    def preserves_constants(self) -> bool:
        return True

    def on_cells(self, pixels: int) -> Self:
        cells = whole("pixels", pixels, 1)
        if self.shape is None:
            return self
        height, width = self.shape
        if height % cells or width % cells:
            near = max(1, round(height / cells)) * cells, max(1, round(width / cells)) * cells
            raise ValueError(f"{self!r} does not lead to whole cells of {cells} pixels; nearest shape: {near}")
        return replace(self, shape=(height // cells, width // cells))

    def _length(self, axis: int, length: int) -> int:
        """The target length of an axis."""
        if self.scale is None:
            assert self.shape is not None
            return self.shape[axis]
        ratio = self.scale[axis]
        return length // ratio.numerator * ratio.denominator

    def _fault(self, size: Size) -> str | None:
        if self.scale is not None:
            return indivisible(size, self.scale)
        assert self.shape is not None
        h, w = (1, 1) if self._shape_goes_up else self.shape
        if size[0] >= h and size[1] >= w:
            return None
        return f"height and width must be at least {h} and {w}{self._way_up and '; ' + self._way_up}"

    def _nearest(self, size: Size) -> tuple[Size, ...]:
        if self.scale is not None:
            return nearest_divisible(size, self.scale)
        assert self.shape is not None
        h, w = (1, 1) if self._shape_goes_up else self.shape
        return ((max(size[0], h), max(size[1], w)),)

    def _out_size(self, size: Size) -> Size:
        if self.scale is not None:
            return divided(size, self.scale)
        assert self.shape is not None
        return self.shape

    def _in_size(self, size: Size) -> Size | None:
        return None if self.scale is None else multiplied(size, self.scale)

    def _config(self) -> Config:
        if self.scale is None:
            assert self.shape is not None
            return {"shape": list(self.shape)}
        return {"scale": [[s.numerator, s.denominator] for s in self.scale]}

    @classmethod
    def _from_config(cls, config: Config, depth: int) -> Self:
        shape, scale = read_target(cls.__name__, config)
        return cls(shape, scale=scale)

    def _written(self) -> str:
        """The target as the constructor takes it: `(shape` or `.by(scale`, bracket open."""
        if self.scale is None:
            return f"{type(self).__name__}({self.shape}"
        sy, sx = (int(s) if s.denominator == 1 else s for s in self.scale)
        return f"{type(self).__name__}.by({sy if sy == sx else (sy, sx)!r}"

    def __repr__(self) -> str:
        return self._written() + ")"


def read_target(kind: str, config: Config) -> tuple[Size | None, tuple[Fraction, Fraction] | None]:
    """The shape or the scale of a saved form that holds nothing else."""
    if "shape" in config:
        (shape,) = take(kind, config, "shape")
        return pair("shape", shape, 1), None
    (scale,) = take(kind, config, "scale")
    if not isinstance(scale, list | tuple) or len(scale) != 2:
        raise ValueError("scale must be a list of two ratios")
    return None, (ratio("scale", scale[0]), ratio("scale", scale[1]))
