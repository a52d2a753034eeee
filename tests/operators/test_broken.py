"""The checks themselves: each law fails on an operator that breaks it, and passes on the sound one beside it."""

import broken_operators as broken
import laws
import numpy as np
import pytest

from commutant.operators import BlockMean, SpectralCrop, StridedSelection

SIZE = (12, 12)
FLOW = np.random.default_rng(0).uniform(-3, 3, size=(*SIZE, 2))
FAULTS = [
    (laws.adjoint, broken.AdjointWithoutItsFactor(2)),
    (laws.adjoint, broken.AdjointTooSmall(2)),
    (laws.adjoint, broken.OffByOnePhase(3, 4)),
    (laws.linear, broken.MeanWithOffset(2)),
    (laws.matrix_equals_function, broken.OffByOnePhase(3, 4)),
    (laws.matrix_equals_function, broken.AdjointTooSmall(2)),
    (laws.gram, broken.BlockSum(2)),
    (laws.gram, broken.HalfPixelShift()),
    (laws.constants, broken.BlockSum(2)),
    (laws.leading_dims, broken.MeanOverTheBatch(2)),
    (laws.shapes_as_announced, broken.AnnouncesTooMuch(2)),
    (laws.scipy_form, broken.WrongScipyForm((2, 3))),
    (laws.noise_partner_is_white, broken.LoudPartner(2)),
    (laws.noise_partner_is_white, broken.CopiesIntoTheBand(3, 0)),
    (laws.noise_partner_is_white, broken.UpWithoutHighFrequencies((15, 12))),
    (laws.noise_partner_is_white, broken.SplitWithoutBridges((7, 15), "bilinear")),
    (laws.noise_partner_is_white, broken.ShiftWithoutNyquist(0.5, 0)),
    (laws.matrix_equals_function, broken.CornerAligned((6, 6), "bicubic")),
    (laws.coverage, broken.CoversTooMuch(2)),
    (laws.saved_form, broken.ForgetsItsPhase(2, 3)),
    (laws.adjoint, broken.WarpsBack(FLOW)),
    (laws.adjoint, broken.RollsOnItsInverse(1, 2)),
    (laws.gram, broken.RollsOnItsInverse(1, 2)),
    (laws.coverage, broken.CountsTheFill(FLOW)),
    (laws.noise_partner_is_white, broken.WarpsItsNoise(FLOW)),
    (laws.saved_form, broken.ForgetsItsFill(FLOW)),
    (laws.readable_repr, broken.MumblesItsRepr(2, 3)),
]


@pytest.mark.parametrize(("law", "operator"), FAULTS, ids=lambda v: getattr(v, "__name__", type(v).__name__))
def test_law_catches(law, operator):
    assert law(operator, SIZE, np.random.default_rng(0)) > 1e-3


def test_every_law_has_caught_something():
    assert {law for law, _ in FAULTS} == set(laws.LAWS)


def test_adjoint_law_counts_errors_of_either_sign():
    """A check without abs passes every operator whose adjoint is too small."""
    for seed in range(20):
        rng = np.random.default_rng(seed)
        assert laws.adjoint(broken.AdjointTooSmall(2), SIZE, rng) > 1e-5
        assert laws.adjoint(broken.AdjointWithoutItsFactor(2), SIZE, rng) > 1e-5


def test_partition_catches_a_repeated_member_and_a_missing_one():
    family = StridedSelection.family(2)
    assert laws.partition(family, SIZE) == 0
    assert laws.partition((*family[:3], family[0]), SIZE) >= 1
    assert laws.partition(family[:3], SIZE) >= 1
    assert laws.partition((BlockMean(2),), SIZE) > 0.1


def test_gradient_law_catches_a_cut_graph():
    pytest.importorskip("torch")
    assert laws.gradient(broken.DetachedMean(2), SIZE, np.random.default_rng(0)) == np.inf


@pytest.mark.parametrize("operator", [BlockMean(2), broken.HalfPixelShift(), SpectralCrop((6, 6))], ids=repr)
def test_noise_report_catches_a_missing_gain(operator):
    """The operator itself, where its noise partner is due."""
    assert laws.noise(operator, SIZE, np.random.default_rng(0)).variance < laws.ALPHA / 4


def test_noise_report_catches_colour_and_shape():
    rng = np.random.default_rng(0)
    shifted = laws.noise(broken.HalfPixelShift().noise_partner(), SIZE, rng)
    assert shifted.columns < laws.ALPHA / 4 < shifted.rows  # coloured along the shift, and only there
    turned = laws.noise(lambda x: broken.HalfPixelShift()(x.swapaxes(-1, -2)).swapaxes(-1, -2) * 2**0.5, SIZE, rng)
    assert turned.rows < laws.ALPHA / 4 < turned.columns
    uniform = laws.noise(lambda x: np.sign(x), SIZE, rng)
    assert uniform.distribution < laws.ALPHA / 4 < uniform.variance


def test_noise_report_false_alarm_rate():
    """On white noise the p-value of a report is at most rarely small: 200 seeds, 0.05 expected 10 times at most."""
    few = sum(laws.noise(lambda x: x, (4, 4), np.random.default_rng(seed), images=64).p < 0.05 for seed in range(200))
    assert few <= 25  # a binomial of rate 0.05 exceeds this with probability 1e-5
