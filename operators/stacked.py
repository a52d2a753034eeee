"""Operators side by side: their sum, their outputs stacked, and each on its own part of the image."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
from scipy import sparse  # type: ignore[import-untyped]

from .arrays import Array, array_namespace
from .base import LinearOperator
from .fields import Choice, Operators, holds
from .noise import NoisePartner
from .saved import serialisable
from .shapes import Size

AXES = {"vertical": -2, "horizontal": -1}


@dataclass(frozen=True, init=False, repr=False)
class Several(LinearOperator):
    """What sums, stacks and block diagonals share: two or more operators that know nothing of each other."""

    operators: tuple[LinearOperator, ...] = field(metadata=holds(Operators()))

    def _prepare(self) -> None:
        if len(self.operators) < 2:
            raise TypeError(f"{type(self).__name__} takes two or more operators")

    def _grown(self, before: float, back: bool) -> float:
        return max(op._grown(before, back) for op in self.operators)

    @abstractmethod
    def _parts(self, size: Size) -> tuple[Size, ...]:
        """The size that reaches each operator, for an input of `size`."""

    def _clash(self, sizes: tuple[Size, ...]) -> str | None:
        """What is wrong with output sizes of the operators, in words."""
        return None

    def _fault(self, size: Size) -> str | None:
        parts = self._parts(size)
        for op, part in zip(self.operators, parts):
            fault = op._fault(part)
            if fault is not None:
                return f"at {op!r}, which is given {part}, {fault}"
        return self._clash(tuple(op._out_size(part) for op, part in zip(self.operators, parts)))


@serialisable
@dataclass(frozen=True, init=False, repr=False)
class Sum(Several):
    """Operators on the same image, their outputs added; written `a + b` and `a - b`.

    forward   (A_1 + ... + A_n) x        (..., H, W) -> (..., h, w)
    adjoint   A_1^T y + ... + A_n^T y

    A size is valid if every term takes it to the same size. Nothing is known of its gain, and it has no noise partner:
    white noise comes out coloured by how the terms overlap. Source: linear algebra.
    """

    _infix: ClassVar[bool] = True

    def __init__(self, *operators: LinearOperator):
        terms = (op.operators if isinstance(op, Sum) else (op,) for op in operators)
        self._take(operators=[op for group in terms for op in group])

    @property
    def keeps_size(self) -> bool:
        return all(op.keeps_size for op in self.operators)

    def noise_partner(self) -> NoisePartner:
        raise ValueError(f"{self!r} has no noise partner: how its terms overlap is not known")

    def coverage(self, shape: Sequence[int]) -> np.ndarray:
        """The least of the terms' coverages: what one of them made up is made up in the sum."""
        return np.min([op.coverage(shape) for op in self.operators], axis=0)

    def on_cells(self, pixels: int) -> LinearOperator:
        return Sum(*(op.on_cells(pixels) for op in self.operators))

    def matrix(self, shape: Sequence[int]) -> sparse.csr_array:
        self.out_shape(shape)
        first, *rest = (op.matrix(shape) for op in self.operators)
        return sparse.csr_array(sum(rest, start=first))

    def _parts(self, size: Size) -> tuple[Size, ...]:
        return (size,) * len(self.operators)

    def _clash(self, sizes: tuple[Size, ...]) -> str | None:
        return None if len(set(sizes)) == 1 else f"its terms lead to different sizes, {', '.join(map(str, sizes))}"

    def _out_size(self, size: Size) -> Size:
        return self.operators[0]._out_size(size)

    def _in_size(self, size: Size) -> Size | None:
        return next((found for op in self.operators if (found := op._in_size(size)) is not None), None)

    def _forward(self, x: Array) -> Array:
        first, *rest = (op(x) for op in self.operators)
        return sum(rest, start=first)

    def _adjoint(self, y: Array, size: Size) -> Array:
        first, *rest = (op.adjoint(y, size) for op in self.operators)
        return sum(rest, start=first)

    def __repr__(self) -> str:
        return " + ".join(op._grouped_repr() for op in self.operators)


@dataclass(frozen=True, init=False, repr=False)
class Beside(Several):
    """Operators whose outputs lie one beside the other, along `axis`; the other side must be the same for all."""

    axis: str = field(kw_only=True, metadata=holds(Choice(tuple(AXES)), named=True))

    def __init__(self, *operators: LinearOperator, axis: str = "vertical"):
        self._take(operators=operators, axis=axis)

    def on_cells(self, pixels: int) -> LinearOperator:
        return type(self)(*(op.on_cells(pixels) for op in self.operators), axis=self.axis)

    def coverage(self, shape: Sequence[int]) -> np.ndarray:
        self.out_shape(shape)
        parts = zip(self.operators, self._parts((shape[-2], shape[-1])))
        return np.concatenate([op.coverage(part) for op, part in parts], axis=AXES[self.axis])

    def _clash(self, sizes: tuple[Size, ...]) -> str | None:
        other = 1 if self.axis == "vertical" else 0
        if len({size[other] for size in sizes}) == 1:
            return None
        return f"outputs of sizes {', '.join(map(str, sizes))} do not fit together: `axis` is {self.axis!r}"

    def _out_size(self, size: Size) -> Size:
        sizes = [op._out_size(part) for op, part in zip(self.operators, self._parts(size))]
        along = 0 if self.axis == "vertical" else 1
        total = sum(out[along] for out in sizes)
        return (total, sizes[0][1]) if along == 0 else (sizes[0][0], total)

    def _bands(self, y: Array, size: Size) -> Iterator[tuple[LinearOperator, Array, Size]]:
        """Each operator with its part of the output y, and the size it is given of an input of `size`."""
        along, at = AXES[self.axis], 0
        for op, part in zip(self.operators, self._parts(size)):
            length = op._out_size(part)[along]
            yield op, _slice(y, along, at, at + length), part
            at += length


@serialisable
@dataclass(frozen=True, init=False, repr=False)
class Stack(Beside):
    """Operators on the same image, their outputs one below the other ("vertical") or side by side ("horizontal").

    forward   y = [A_1 x; ...; A_n x]        (..., H, W) -> (..., sum h, w) or (..., h, sum w)
    adjoint   A_1^T y_1 + ... + A_n^T y_n

    Several views of one image as one array. Nothing is known of its gain, and it has no noise partner: the views may
    see the same pixels. Raises ShapeError where outputs do not fit together. Source: linear algebra.
    """

    def noise_partner(self) -> NoisePartner:
        raise ValueError(f"{self!r} has no noise partner: its operators may see the same pixels")

    @property
    def preserves_constants(self) -> bool:
        return all(op.preserves_constants for op in self.operators)

    def _parts(self, size: Size) -> tuple[Size, ...]:
        return (size,) * len(self.operators)

    def _forward(self, x: Array) -> Array:
        return array_namespace(x).concat([op(x) for op in self.operators], axis=AXES[self.axis])

    def _adjoint(self, y: Array, size: Size) -> Array:
        first, *rest = (op.adjoint(band, part) for op, band, part in self._bands(y, size))
        return sum(rest, start=first)


@serialisable
@dataclass(frozen=True, init=False, repr=False)
class BlockDiagonal(Beside):
    """Each of n operators on its own part of the image: n equal parts, from above or from the left.

    forward   y = [A_1 x_1; ...; A_n x_n]        (..., H, W) -> (..., sum h, w) or (..., h, sum w)
    adjoint   x = [A_1^T y_1; ...; A_n^T y_n]

    For pictures of several panels. Its gain is that of its operators where they have the same; its noise partner is
    each operator's own on its part. Raises ShapeError unless n divides the height ("vertical") or the width
    ("horizontal"), or where outputs do not fit together. Source: linear algebra.
    """

    @property
    def gain(self) -> float | None:
        gains = {op.gain for op in self.operators}
        return gains.pop() if len(gains) == 1 else None

    @property
    def preserves_constants(self) -> bool:
        return all(op.preserves_constants for op in self.operators)

    @property
    def keeps_size(self) -> bool:
        return all(op.keeps_size for op in self.operators)

    def noise_partner(self) -> NoisePartner:
        if self.isotropic:
            return super().noise_partner()
        return PartnersBeside(self, tuple(op.noise_partner() for op in self.operators))

    def _parts(self, size: Size) -> tuple[Size, ...]:
        height, width = size
        count = len(self.operators)
        part = (height // count, width) if self.axis == "vertical" else (height, width // count)
        return (part,) * count

    def _fault(self, size: Size) -> str | None:
        along, count = AXES[self.axis], len(self.operators)
        if size[along] % count or size[along] <= 0:
            return f"{'height' if along == -2 else 'width'} must be a positive multiple of {count}"
        return super()._fault(size)

    def _in_size(self, size: Size) -> Size | None:
        # It follows where all operators make as much of their equal parts.
        part = self._parts(size)[0]
        sources = {op._in_size(part) for op in self.operators}
        source = sources.pop()
        if sources or source is None or size[AXES[self.axis]] % len(self.operators):
            return None
        count = len(self.operators)
        return (source[0] * count, source[1]) if self.axis == "vertical" else (source[0], source[1] * count)

    def _forward(self, x: Array) -> Array:
        along = AXES[self.axis]
        length = x.shape[along] // len(self.operators)
        bands = (_slice(x, along, k * length, (k + 1) * length) for k in range(len(self.operators)))
        return array_namespace(x).concat([op(band) for op, band in zip(self.operators, bands)], axis=along)

    def _adjoint(self, y: Array, size: Size) -> Array:
        parts = [op.adjoint(band, part) for op, band, part in self._bands(y, size)]
        return array_namespace(y).concat(parts, axis=AXES[self.axis])


@dataclass(frozen=True, repr=False)
class PartnersBeside(NoisePartner):
    """The noise partner of a block diagonal: each operator's own, on its part of the noise."""

    operator: BlockDiagonal
    partners: tuple[NoisePartner, ...]

    def _fresh_count(self, size: Size) -> int:
        return sum(p._fresh_count(part) for p, part in zip(self.partners, self.operator._parts(size)))

    def _combined(self, noise: Array, fresh: Array) -> Array:
        along, at, used, made = AXES[self.operator.axis], 0, 0, []
        for partner, part in zip(self.partners, self.operator._parts((noise.shape[-2], noise.shape[-1]))):
            band, count = _slice(noise, along, at, at + part[along]), partner._fresh_count(part)
            made.append(partner.combined(band, fresh[..., used : used + count]))
            at, used = at + part[along], used + count
        return array_namespace(noise).concat(made, axis=along)


def _slice(x: Array, axis: int, start: int, stop: int) -> Array:
    return x[..., start:stop, :] if axis == -2 else x[..., start:stop]
