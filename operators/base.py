"""The contract of every operator: a linear map on the last two dims of an array."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from numbers import Real
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from scipy import sparse  # type: ignore[import-untyped]
from scipy.sparse import linalg  # type: ignore[import-untyped]

from .arrays import Array
from .fields import Config, Declared
from .noise import LinearPartner, NoisePartner
from .saved import arguments, is_serialisable, read, require_savable
from .shapes import Shape, ShapeError, Size, nearest_by_search

if TYPE_CHECKING:
    from typing_extensions import Self

    from .algebra import Composed, Scaled
    from .stacked import Sum


class LinearOperator(ABC):
    """A linear map A on space, the last two dims (height, width) of an array; leading dims are free.

    forward  `op(x)` = A x                       (..., H, W) -> (..., h, w)
    adjoint  `op.adjoint(y)` = A^T y             (..., h, w) -> (..., H, W)

    dtype, device and array library are kept, and torch differentiates through both directions. Operators are
    immutable and compare by value. A new one defines `_fault`, `_out_size`, `_forward`, `_adjoint` and, where they
    hold, `_in_size`, `gain`, `preserves_constants`, `keeps_size`, `coverage`, `on_cells`, `axes`, `noise_partner`.
    As a frozen dataclass with declared fields (`fields.declared`) it has checks, repr and saved form from these.
    """

    _infix: ClassVar[bool] = False  # whether the repr needs brackets inside a larger expression
    __array_ufunc__ = None  # numpy scalars and arrays defer to the operator's own arithmetic

    def __call__(self, x: Array) -> Array:
        """A x for x of shape (..., H, W); raises ShapeError where `out_shape` does."""
        shape = x.shape
        if len(shape) < 2 or self._fault((shape[-2], shape[-1])) is not None:
            self.out_shape(shape)  # raises, and says why
        return self._forward(x)

    def adjoint(self, y: Array, shape: Sequence[int] | None = None) -> Array:
        """A^T y for y of shape (..., h, w), the output for an input of `shape`.

        `shape` (a full input shape, or just its height and width) may be left out wherever `in_shape` can tell.
        """
        if shape is None:
            shape = self.in_shape(y.shape)
        _, size = self._split(shape)
        lead = tuple(y.shape[:-2])
        expected = self.out_shape((*lead, *size))
        if tuple(y.shape) != expected or tuple(shape[:-2]) not in ((), lead):
            rule = f"the adjoint to input shape {tuple(shape)} takes {expected[-2:]} in the last two dims"
            raise ShapeError(repr(self), y.shape, rule, [(expected[-2], expected[-1])])
        return self._adjoint(y, size)

    def out_shape(self, shape: Sequence[int]) -> Shape:
        """Shape of `op(x)` for x of `shape`, leading dims included; raises ShapeError naming the nearest sizes."""
        lead, size = self._split(shape)
        fault = self._fault(size)
        if fault is not None:
            raise ShapeError(repr(self), shape, fault, self._nearest(size))
        return (*lead, *self._out_size(size))

    def in_shape(self, shape: Sequence[int]) -> Shape:
        """Shape of the x whose `op(x)` has `shape`; raises ShapeError if there is none or more than one."""
        lead, size = self._split(shape)
        source = self._in_size(size)
        if source is None:
            raise ShapeError(repr(self), shape, "its input size does not follow from its output: give the input shape")
        if self._fault(source) is not None or self._out_size(source) != size:
            nearest = dict.fromkeys(self._out_size(near) for near in self._nearest(source))
            raise ShapeError(repr(self), shape, "no input has this output shape", tuple(nearest))
        return (*lead, *source)

    @property
    def gain(self) -> float | None:
        """Noise gain g, where A A^T = g^2 I with one g for all sizes; otherwise None. See `noise_gain`."""
        return None

    @property
    def isotropic(self) -> bool:
        """Whether A A^T is a multiple of the identity for every size, so that white noise stays white."""
        return self.gain is not None

    @property
    def preserves_constants(self) -> bool:
        """Whether the rows of A sum to 1, so that a constant image keeps its value."""
        return False

    def noise_gain(self, shape: Sequence[int]) -> float | None:
        """Noise gain g on inputs of `shape`: A A^T = g^2 I; None where that is not known to hold."""
        self.out_shape(shape)
        return self.gain

    def noise_partner(self) -> NoisePartner:
        """What carries unit white noise to unit white noise along with the signal.

        Called with the noise and a seed for the fresh noise it needs. That of an isotropic operator needs none: it is
        A / g, or A itself when g = 1, as a `LinearPartner`. Raises ValueError for an operator that has none.
        """
        from .algebra import Whitened

        return LinearPartner(self, self if self.gain == 1 else Whitened(self))

    @property
    def keeps_size(self) -> bool:
        """Whether the output has the size of the input, whatever it is (or as many pixels, after a quarter turn)."""
        return False

    def coverage(self, shape: Sequence[int]) -> np.ndarray:
        """How much of each output pixel was seen in an input of `shape`: float64 (h, w) from 0 (made up) to 1."""
        return np.ones(self.out_shape(shape)[-2:])

    def on_cells(self, pixels: int) -> "LinearOperator":
        """The same map of the scene on a grid whose cells are `pixels` wide, for example latents of an image.

        Raises ValueError where there is none, with the nearest that there is.
        """
        raise ValueError(f"{self!r} has no counterpart on a coarser grid")

    def transposed(self, shape: Size | None = None) -> "LinearOperator":
        """A^T as an operator, `a.transposed()(y)` = a.adjoint(y); `shape` (H, W) where `in_shape` cannot tell it."""
        from .adjoint import Adjoint

        return Adjoint(self, shape)

    @property
    def T(self) -> "LinearOperator":
        """A^T, as `transposed()`."""
        return self.transposed()

    @property
    def H(self) -> "LinearOperator":
        """A^H, which is A^T: operators are real."""
        return self.transposed()

    def pseudoinverse(self, ridge: float = 0.0, shape: Size | None = None) -> "LinearOperator":
        """y -> the x that minimises |A x - y|^2 + ridge |x|^2, the smallest such x for ridge 0 (Moore-Penrose).

        (A^T A + ridge I)^-1 A^T. A multiple of A^T where A is isotropic, for all sizes or on inputs of `shape` (H, W);
        otherwise, where A is separable, from the singular values of its two matrices. Raises ValueError where there is
        no closed form, with the way out. Source: Tikhonov regularisation.
        """
        from .analysis import pseudoinverse

        return pseudoinverse(self, ridge, shape)

    def norm(self, shape: Sequence[int]) -> float:
        """The spectral norm on inputs of `shape`: the largest |A x| / |x|.

        In closed form where A is isotropic or separable, else from the dense matrix of a small A, or by Lanczos
        iterations to rounding.
        """
        from .analysis import norm

        return norm(self, shape)

    def condition_number(self, shape: Sequence[int]) -> float:
        """Largest by smallest of the min(h w, H W) singular values on inputs of `shape`; infinite if rank is missing.

        Raises ValueError where A is neither isotropic nor separable and too large for a dense matrix.
        """
        from .analysis import condition_number

        return condition_number(self, shape)

    def axes(self, shape: Sequence[int]) -> tuple[np.ndarray, np.ndarray] | None:
        """The float64 matrices (R, C) of `A x = R x C^T` on inputs of `shape`; None where A is not separable so."""
        self.out_shape(shape)
        return None

    def matrix(self, shape: Sequence[int]) -> sparse.csr_array:
        """A on flattened images of `shape` as a float64 sparse matrix, one row per output pixel."""
        axes = self.axes(shape)
        if axes is not None:
            return sparse.kron(*(sparse.csr_array(axis) for axis in axes), format="csr")
        _, (height, width) = self._split(shape)
        images = np.eye(height * width).reshape(-1, height, width)
        return sparse.csr_array(self(images).reshape(height * width, -1).T)

    def as_linear_operator(self, shape: Sequence[int], dtype: Any = np.float64) -> linalg.LinearOperator:
        """A on flattened numpy images of `shape` for scipy's solvers, matrix-free."""
        _, size = self._split(shape)
        _, out = self._split(self.out_shape(size))

        def forward(v: np.ndarray) -> np.ndarray:
            images = v.T.reshape(-1, *size)
            return self(images).reshape(-1, out[0] * out[1]).T.reshape(-1, *v.shape[1:])

        def backward(v: np.ndarray) -> np.ndarray:
            images = v.T.reshape(-1, *out)
            return self.adjoint(images, size).reshape(-1, size[0] * size[1]).T.reshape(-1, *v.shape[1:])

        flat = (out[0] * out[1], size[0] * size[1])
        return linalg.LinearOperator(
            flat, matvec=forward, rmatvec=backward, matmat=forward, rmatmat=backward, dtype=np.dtype(dtype)
        )

    def to_dict(self) -> Config:
        """A JSON-able description, read back by `LinearOperator.from_dict`.

        Raises TypeError for an operator that is not registered (`fields.serialisable`), ValueError for one that would
        be refused when read.
        """
        if not is_serialisable(type(self)):
            raise TypeError(f"{self!r} has no saved form")
        require_savable(self)
        config: Config = {"operator": type(self).__name__}
        for field in Declared.of(type(self)):
            value = getattr(self, field.name)
            if value is not None:
                config[field.key] = field.kind.save(field.key, value)
            elif field.none == "null":
                config[field.key] = None
        return config

    @classmethod
    def from_dict(cls, config: object) -> "Self":
        """The operator a dict describes. The dict may come from anywhere: anything unexpected is a ValueError."""
        operator = read(config)
        require_savable(operator)
        if not isinstance(operator, cls):
            raise ValueError(f"config describes a {type(operator).__name__}, not a {cls.__name__}")
        return operator

    def __add__(self, other: object) -> "Sum":
        """`(a + b)(x)` = a(x) + b(x)."""
        from .stacked import Sum

        return Sum(self, other) if isinstance(other, LinearOperator) else NotImplemented

    def __sub__(self, other: object) -> "Sum":
        """`(a - b)(x)` = a(x) - b(x)."""
        return self + -other if isinstance(other, LinearOperator) else NotImplemented

    def __matmul__(self, other: object) -> "Composed":
        """`(a @ b)(x)` = a(b(x))."""
        from .algebra import Composed

        return Composed(self, other) if isinstance(other, LinearOperator) else NotImplemented

    def __mul__(self, factor: object) -> "Scaled":
        """`(c * a)(x)` = c a(x)."""
        from .algebra import Scaled

        return Scaled(self, float(factor)) if isinstance(factor, Real) else NotImplemented

    __rmul__ = __mul__

    def __truediv__(self, divisor: float) -> "Scaled":
        return self * (1 / divisor)

    def __neg__(self) -> "Scaled":
        return self * -1.0

    def _grown(self, before: float, back: bool) -> float:
        """How many times larger than moderate the output is for an input `before` times; `back`, of the adjoint.

        Raises ValueError for more than a saved form may ask for.
        """
        return before

    def _grouped_repr(self) -> str:
        return f"({self!r})" if self._infix else repr(self)

    def _split(self, shape: Sequence[int]) -> tuple[Shape, Size]:
        if len(shape) < 2:
            raise ShapeError(repr(self), shape, "needs at least two dims, height and width")
        return tuple(shape[:-2]), (shape[-2], shape[-1])

    @abstractmethod
    def _fault(self, size: Size) -> str | None:
        """The rule that inputs of `size` break, in words, or None if they break none."""

    @abstractmethod
    def _out_size(self, size: Size) -> Size:
        """Output size for an input size without fault."""

    def _nearest(self, size: Size) -> tuple[Size, ...]:
        """Valid input sizes near a faulty one."""
        return nearest_by_search(size, lambda near: self._fault(near) is None)

    def _in_size(self, size: Size) -> Size | None:
        """Input size for an output size, where it follows."""
        return None

    @abstractmethod
    def _forward(self, x: Array) -> Array:
        """A x, x of a size without fault."""

    @abstractmethod
    def _adjoint(self, y: Array, size: Size) -> Array:
        """A^T y, for an input of `size`, without fault, and y of its output size."""

    @classmethod
    def _from_config(cls, config: Config, depth: int) -> "Self":
        given, by_keyword = arguments(cls, config, depth)
        return cls(*given, **by_keyword)

    def __post_init__(self) -> None:
        """What the constructor that a dataclass generates does last."""
        self._take(**{field.name: getattr(self, field.name) for field in Declared.of(type(self))})

    def _take(self, **given: Any) -> None:
        """Set the declared fields, read by their kinds; for constructors that take more than one form."""
        for field in Declared.of(type(self)):
            value = given[field.name]
            if value is not None or not field.none:
                value = field.kind.take(field.key, value)
            object.__setattr__(self, field.name, value)
        self._prepare()

    def _prepare(self) -> None:  # noqa: B027 - most need none
        """Checks between fields, and what follows from them."""

    def __repr__(self) -> str:
        shown = (
            f"{field.key}={text}" if field.named else text
            for field in Declared.of(type(self))
            for text in [field.kind.show(getattr(self, field.name))]
        )
        return f"{type(self).__name__}({', '.join(shown)})"


class SameSize(LinearOperator):
    """(..., H, W) -> (..., H, W); raises ShapeError for images without pixels."""

    @property
    def keeps_size(self) -> bool:
        return True

    def _fault(self, size: Size) -> str | None:
        return None if min(size) > 0 else "height and width must be positive"

    def _nearest(self, size: Size) -> tuple[Size, ...]:
        return ((max(size[0], 1), max(size[1], 1)),)

    def _out_size(self, size: Size) -> Size:
        return size

    def _in_size(self, size: Size) -> Size | None:
        return size
