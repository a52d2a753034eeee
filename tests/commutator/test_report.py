"""Reports hold what `commutator_norm` says, and their tests find what theory knows."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from commutant.commutator import (
    CommutatorReport,
    GaussianField,
    PointwiseField,
    RectifiedFlow,
    commutator_norm,
    measure,
    measure_each,
)
from commutant.commutator.euler import trajectory
from commutant.operators import BlockMean, StridedSelection, Translate

from .worlds import SELECTIONS, SIDE, SMOOTH, Counting, Wavy, highest, normal, paths, relative, seeds, shifted

TIMES = shifted(6)


@settings(max_examples=20)
@given(path=paths, op=st.sampled_from(SELECTIONS + SMOOTH), seed=seeds)
def test_a_report_is_its_norms(path, op, seed):
    times = [u * highest(path) for u in (0.9, 0.5, 0.2)]
    states = [normal(seed + k, 2, 1, SIDE, SIDE) for k in range(3)]
    report = measure(op, Wavy(), path, states, times)
    assert (report.name, report.times) == (repr(op), tuple(times))
    for norms, of in ((report.absolute, False), (report.relative, True)):
        slow = [commutator_norm(op, Wavy(), path, relative=of)(x, t) for x, t in zip(states, times)]
        assert norms.dtype == np.float64
        assert relative(norms, slow) <= 1e-12
    assert relative(report.absolute, report.relative) > 1e-3


def test_several_operators_share_the_evaluation_at_high_resolution():
    operators, field = StridedSelection.family(2), Counting(Wavy())
    states = trajectory(RectifiedFlow(), Wavy(), normal(0, 2, 1, SIDE, SIDE), TIMES)
    reports = measure_each(operators, field, RectifiedFlow(), states[:-1], TIMES[:-1])
    widths = [width for width, _ in field.asked]
    assert (widths.count(SIDE), widths.count(SIDE // 2)) == (6, 24)
    for op, report in zip(operators, reports):
        alone = measure(op, Wavy(), RectifiedFlow(), states[:-1], TIMES[:-1])
        assert np.array_equal(report.absolute, alone.absolute)


def test_comparing_finds_the_operator_that_commutes():
    """White data: zero for a selection, not for a mean. Eight samples on one side: p = 2^-8."""
    states = [normal(k, 8, 1, SIDE, SIDE) for k in range(2)]
    selected, averaged = measure_each(
        [StridedSelection(2), BlockMean(2)], GaussianField(), RectifiedFlow(), states, [0.7, 0.4]
    )
    assert not selected.absolute.any()
    result = selected.compare(averaged, alternative="less")
    assert result.p_value == pytest.approx(2**-8)
    assert result.smaller == selected.name
    assert result.median_difference == pytest.approx(-np.median(averaged.absolute.mean(axis=0)))
    assert averaged.compare(selected, alternative="less").p_value == 1.0
    assert selected.compare(averaged, relative=True).p_value == pytest.approx(2**-7)


def report(*rows):
    norms = np.array(rows, dtype=float)
    return CommutatorReport("made up", tuple(np.linspace(1, 0.5, len(rows))), norms, norms / 10)


def test_change_is_last_against_first():
    rising = report([1, 2, 3, 4, 5], [9, 9, 9, 9, 9], [1.1, 2.2, 3.3, 4.4, 5.5])
    up = rising.change(alternative="greater")
    assert (up.p_value, up.smaller) == (pytest.approx(2**-5), "t = 1")
    assert up.median_difference == pytest.approx(0.3)
    assert rising.change(alternative="less").p_value == 1.0
    down = rising.change(first=1, alternative="less")
    assert (down.p_value, down.smaller) == (pytest.approx(2**-5), "t = 0.5")
    assert rising.change(last=1).median_difference == 6.0
    assert rising.change(relative=True).median_difference == pytest.approx(0.03)
    for wrong in ({"first": 3}, {"last": -4}):
        with pytest.raises(ValueError, match="outside a report of 3 times"):
            rising.change(**wrong)


def test_the_table():
    assert report([1, 2, 3, 4, 5], [2, 2, 2, 2, 2.5]).markdown() == (
        "made up, 5 samples\n\n"
        "| t | norm | quartiles | relative | quartiles |\n"
        "|---:|---:|---:|---:|---:|\n"
        "| 1 | 3 | 2 to 4 | 0.3 | 0.2 to 0.4 |\n"
        "| 0.5 | 2 | 2 to 2 | 0.2 | 0.2 to 0.2 |\n"
    )


def test_where_the_answer_is_zero_there_is_no_relative_norm():
    nothing = measure(BlockMean(2), PointwiseField(lambda x, t: 0 * x), RectifiedFlow(), [normal(0, 2, 1, 4, 4)], [0.5])
    assert not nothing.absolute.any()
    assert np.isnan(nothing.relative).all()
    assert nothing.compare(nothing).p_value == 1.0
    with pytest.raises(ValueError, match="compare absolute norms"):
        nothing.compare(nothing, relative=True)


def test_reports_of_tensors():
    torch = pytest.importorskip("torch")
    x = normal(0, 3, 1, SIDE, SIDE)
    ours, theirs = (measure(BlockMean(2), GaussianField(), RectifiedFlow(), [v], [0.5]) for v in (x, torch.tensor(x)))
    assert isinstance(theirs.absolute, np.ndarray)
    assert relative(ours.absolute, theirs.absolute) <= 1e-12


def test_refusals_come_before_any_evaluation():
    field, x = Counting(Wavy()), normal(0, 2, 1, 4, 4)
    with pytest.raises(ValueError, match="got 2 states, 1 times"):
        measure(BlockMean(2), field, RectifiedFlow(), [x, x], [0.5])
    with pytest.raises(ValueError, match="got 0 states, 0 times"):
        measure(BlockMean(2), field, RectifiedFlow(), [], [])
    with pytest.raises(ValueError, match="have one shape"):
        measure(BlockMean(2), field, RectifiedFlow(), [x, x[:1]], [0.5, 0.4])
    with pytest.raises(ValueError, match="does not keep white noise white"):
        measure_each([BlockMean(2), Translate(1, 0)], field, RectifiedFlow(), [x], [0.5])
    assert field.asked == []
    one, two = (measure(BlockMean(2), Wavy(), RectifiedFlow(), [x[:n]], [0.5]) for n in (1, 2))
    with pytest.raises(ValueError, match="got 1 and 2"):
        one.compare(two)
