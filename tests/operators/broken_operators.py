"""Operators that are wrong on purpose, each in one way."""

import numpy as np

from commutant.operators import (
    BlockMean,
    FourierShift,
    LinearOperator,
    LinearPartner,
    Resize,
    Roll,
    SpectralCrop,
    StridedSelection,
    Translate,
    Warp,
)
from commutant.operators.resize import AreaSplit
from commutant.operators.sampling import ConservativeSplit
from commutant.operators.separable import FreshComplement
from commutant.operators.spectral import FreshNyquist
from commutant.operators.translate import FreshBand


class AdjointWithoutItsFactor(BlockMean):
    """Spreads y without dividing by the block: the usual mistake."""

    def _adjoint(self, y, size):
        return super()._adjoint(y, size) * (self.scale[0] * self.scale[1])


class AdjointTooSmall(BlockMean):
    """Leaves the adjoint at 0."""

    def _adjoint(self, y, size):
        return super()._adjoint(y, size) * 0


class OffByOnePhase(StridedSelection):
    """Takes the next pixel of the row; its adjoint and its matrix keep the right one."""

    def _forward(self, x):
        return super()._forward(np.roll(x, -1, axis=-1))


class CopyingSelection(StridedSelection):
    def _forward(self, x):
        return super()._forward(x) + 0


class BlockSum(BlockMean):
    """Claims to keep constants and the gain of the mean."""

    def _forward(self, x):
        return super()._forward(x) * (self.scale[0] * self.scale[1])


class MeanInDoublePrecision(BlockMean):
    def _forward(self, x):
        return super()._forward(x.astype(np.float64))


class MeanWithOffset(BlockMean):
    """Affine, not linear."""

    def _forward(self, x):
        return super()._forward(x) + 0.1


class MeanOverTheBatch(BlockMean):
    """Mixes leading dims."""

    def _forward(self, x):
        out = super()._forward(x)
        return out if x.ndim == 2 else np.broadcast_to(out.mean(axis=tuple(range(x.ndim - 2))), out.shape).copy()


class AnnouncesTooMuch(BlockMean):
    def _out_size(self, size):
        height, width = super()._out_size(size)
        return height + 1, width


class ForgetsItsPhase(StridedSelection):
    def to_dict(self):
        return StridedSelection(self.scale).to_dict()


class MumblesItsRepr(StridedSelection):
    def __repr__(self):
        return f"StridedSelection({self.scale[0]})"


class DetachedMean(BlockMean):
    """Cuts torch's graph."""

    def _forward(self, x):
        return super()._forward(x.detach())


class HalfPixelShift(LinearOperator):
    """Bilinear shift by half a pixel, periodic. It colours noise, and claims otherwise."""

    gain = 0.5**0.5
    preserves_constants = True

    def _fault(self, size):
        return None

    def _out_size(self, size):
        return size

    def _in_size(self, size):
        return size

    def _forward(self, x):
        return (x + np.roll(x, 1, axis=-1)) / 2

    def _adjoint(self, y, size):
        return (y + np.roll(y, -1, axis=-1)) / 2


class WrongScipyForm(BlockMean):
    def as_linear_operator(self, shape, dtype=np.float64):
        return BlockMean(self.scale[::-1]).as_linear_operator(shape, dtype)


class LoudPartner(BlockMean):
    def noise_partner(self):
        return LinearPartner(self, self)


class CoversTooMuch(BlockMean):
    def coverage(self, shape):
        return super().coverage(shape) * 2


class CopiesIntoTheBand(Translate):
    """Fills the uncovered band of the noise with copies, which are no longer independent of what they copy."""

    def noise_partner(self):
        return _Copies(self)


class _Copies(FreshBand):
    def _combined(self, noise, fresh):
        return self.operator(noise)


def _without(partner):
    """The partner class, with its fresh noise left out: what it carries is not white alone."""

    class Silent(partner):
        def _combined(self, noise, fresh):
            return super()._combined(noise, fresh * 0)

    return Silent


class UpWithoutHighFrequencies(SpectralCrop):
    def noise_partner(self):
        return _without(FreshComplement)(self)


class SplitWithoutBridges(Resize):
    def noise_partner(self):
        return _without(AreaSplit)(self)


class ShiftWithoutNyquist(FourierShift):
    def noise_partner(self):
        return _without(FreshNyquist)(self)


class CornerAligned(Resize):
    """Half a pixel off; its axes are what the others' are."""

    def _forward(self, x):
        return super()._forward(FourierShift(0.5, 0.5)(x))


class WarpsBack(Warp):
    """Takes the warp by the opposite flow for the adjoint: the usual mistake."""

    def _adjoint(self, y, size):
        return Warp(-self.flow, self.mode, self.fill)(y)


class CountsTheFill(Warp):
    """Gives pixels outside the weight of the fill, so that more than everything is seen."""

    def coverage(self, shape):
        return super().coverage(shape) + self._table.weight.sum(axis=0)


class WarpsItsNoise(Warp):
    """Treats noise as signal, brought to unit variance pixel by pixel: neighbours stay correlated."""

    def noise_partner(self):
        return _Warped(self)


class _Warped(ConservativeSplit):
    def _combined(self, noise, fresh):
        squares = np.square(self.operator._table.weight).sum(axis=0)
        return self.operator(noise) / np.sqrt(squares)


class ForgetsItsFill(Warp):
    def to_dict(self):
        return Warp(self.flow, self.mode, "zero").to_dict()


class RollsOnItsInverse(Roll):
    """Undoes itself in the wrong direction."""

    @property
    def inverse(self):
        return self
