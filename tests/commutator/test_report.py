"""Reports hold what `commutator_norm` says, on trajectories and along plans; their tests find what theory knows."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from commutant.commutator import (
    CommutatorReport,
    GaussianField,
    Guidance,
    Plan,
    PointwiseField,
    RectifiedFlow,
    Stage,
    commutator_norm,
    commutator_report,
    commutator_reports,
    guided_report,
    signed_rank,
)
from commutant.commutator.euler import finish, preview, trajectory
from commutant.operators import BlockMean, StridedSelection, Translate

from .plans import high, low
from .worlds import (
    SELECTIONS,
    SIDE,
    SMOOTH,
    Counting,
    TwoSizes,
    Wavy,
    highest,
    normal,
    paths,
    relative,
    schedules,
    seeds,
    shifted,
)

FLOW = RectifiedFlow()
PAPER = Guidance("exact", 5, 0.04)
TIMES = shifted(6)


@settings(max_examples=20)
@given(path=paths, op=st.sampled_from(SELECTIONS + SMOOTH), seed=seeds)
def test_a_report_is_its_norms(path, op, seed):
    times = [u * highest(path) for u in (0.9, 0.5, 0.2)]
    states = [normal(seed + k, 2, 1, SIDE, SIDE) for k in range(3)]
    report = commutator_report(op, Wavy(), path, states, times)
    assert (report.name, report.times) == (repr(op), tuple(times))
    for norms, of in ((report.absolute, False), (report.relative, True)):
        slow = [commutator_norm(op, Wavy(), path, relative=of)(x, t) for x, t in zip(states, times)]
        assert norms.dtype == np.float64
        assert relative(norms, slow) <= 1e-12
    assert relative(report.absolute, report.relative) > 1e-3


def test_several_operators_share_the_evaluation_at_high_resolution():
    operators, field = StridedSelection.family(2), Counting(Wavy())
    states = trajectory(FLOW, Wavy(), normal(0, 2, 1, SIDE, SIDE), TIMES)
    reports = commutator_reports(operators, field, FLOW, states[:-1], TIMES[:-1])
    widths = [width for width, _ in field.asked]
    assert (widths.count(SIDE), widths.count(SIDE // 2)) == (6, 24)
    for op, report in zip(operators, reports):
        alone = commutator_report(op, Wavy(), FLOW, states[:-1], TIMES[:-1])
        assert np.array_equal(report.absolute, alone.absolute)


def test_comparing_finds_the_operator_that_commutes():
    """White data: zero for a selection, not for a mean. Eight samples on one side: p = 2^-8."""
    states = [normal(k, 8, 1, SIDE, SIDE) for k in range(2)]
    selected, averaged = commutator_reports(
        [StridedSelection(2), BlockMean(2)], GaussianField(), FLOW, states, [0.7, 0.4]
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
    nothing = commutator_report(BlockMean(2), PointwiseField(lambda x, t: 0 * x), FLOW, [normal(0, 2, 1, 4, 4)], [0.5])
    assert not nothing.absolute.any()
    assert np.isnan(nothing.relative).all()
    assert nothing.compare(nothing).p_value == 1.0
    with pytest.raises(ValueError, match="compare absolute norms"):
        nothing.compare(nothing, relative=True)


def test_reports_of_tensors():
    torch = pytest.importorskip("torch")
    x = normal(0, 3, 1, SIDE, SIDE)
    ours, theirs = (commutator_report(BlockMean(2), GaussianField(), FLOW, [v], [0.5]) for v in (x, torch.tensor(x)))
    assert isinstance(theirs.absolute, np.ndarray)
    assert relative(ours.absolute, theirs.absolute) <= 1e-12


def test_refusals_come_before_any_evaluation():
    field, x = Counting(Wavy()), normal(0, 2, 1, 4, 4)
    with pytest.raises(ValueError, match="got 2 states, 1 times"):
        commutator_report(BlockMean(2), field, FLOW, [x, x], [0.5])
    with pytest.raises(ValueError, match="got 0 states, 0 times"):
        commutator_report(BlockMean(2), field, FLOW, [], [])
    with pytest.raises(ValueError, match="have one shape"):
        commutator_report(BlockMean(2), field, FLOW, [x, x[:1]], [0.5, 0.4])
    with pytest.raises(ValueError, match="does not keep white noise white"):
        commutator_reports([BlockMean(2), Translate(1, 0)], field, FLOW, [x], [0.5])
    assert field.asked == []
    one, two = (commutator_report(BlockMean(2), Wavy(), FLOW, [x[:n]], [0.5]) for n in (1, 2))
    with pytest.raises(ValueError, match="got 1 and 2"):
        one.compare(two)


@settings(max_examples=20)
@given(data=st.data(), path=paths, operator=st.sampled_from(["strided", "mean"]), seed=seeds)
def test_along_a_plan_without_guidance_it_starts_at_the_commutator(data, path, operator, seed):
    times = data.draw(schedules(path))
    plan = low(data.draw(st.integers(1, len(times) - 2)), operator=operator)
    noise = times[0] * normal(seed, 2, 1, SIDE, SIDE)
    report = guided_report(plan, path, Wavy(), noise, times)
    assert report.times == tuple(times[plan.head : -1])
    x, (op,) = trajectory(path, Wavy(), noise, times)[plan.head], plan.stages[0].candidates(1)
    assert relative(report.absolute[0], commutator_norm(op, Wavy(), path)(x, report.times[0])) <= 1e-8


def test_where_field_and_operator_commute_it_stays_zero():
    noise, times = normal(0, 2, 1, SIDE, SIDE), shifted(8)
    pointwise = PointwiseField(lambda x, t: x / (1 + x * x))
    assert not guided_report(low(3, operator="strided"), FLOW, pointwise, noise, times).absolute.any()
    assert guided_report(low(3, operator="mean"), FLOW, pointwise, noise, times).absolute.min() > 0.01


@pytest.mark.parametrize("form", ["denoised", "output"])
def test_at_matched_time_it_stays_zero_too(form):
    """White data whose spread is known at both sizes: velocities differ by the scale and the state of the transport."""
    noise, times = normal(0, 2, 1, SIDE, SIDE), shifted(8)
    both = TwoSizes(GaussianField(0.3, 0.8), GaussianField(0.3, 0.4), SIDE)
    assert guided_report(low(3, operator="mean"), FLOW, both, noise, times, form=form).absolute.max() <= 1e-12
    one = GaussianField(0.3, 0.8)
    assert guided_report(low(3, operator="mean"), FLOW, one, noise, times, form=form).absolute.min() > 0.01


@pytest.mark.parametrize("guidance", [None, PAPER, Guidance("lagged", 2, 0.1)], ids=["free", "exact", "lagged"])
def test_in_the_paper_form_it_is_the_difference_of_two_velocities(guidance):
    """Two plain loops: x runs on at high resolution, y from the argmin phase, corrected before each of its steps."""
    times, switch, field = shifted(8), 3, Wavy()
    plan = low(switch, operator="strided", selection="argmin", guidance=guidance)
    noise = normal(4, 1, 1, SIDE, SIDE)

    def velocity(x, t):
        return (x - field.denoised(x, t)) / t

    x = trajectory(FLOW, field, noise, times)[switch]
    v_ref = velocity(x, times[switch])
    phase = min(plan.stages[0].candidates(1), key=lambda op: np.linalg.norm(op(v_ref) - velocity(op(x), times[switch])))
    y, slow = phase(x), []
    for k, (t, t_next) in enumerate(zip(times[switch:-1], times[switch + 1 :])):
        v = velocity(y, t)
        if guidance is not None and k < guidance.steps:
            y = y + guidance.weight * (v - phase(v_ref))  # the paper's u = image - noise is -v
            v = velocity(y, t) if guidance.kind == "exact" else v
        slow.append(np.linalg.norm(phase(velocity(x, t)) - velocity(y, t)))
        y, x = y + (t_next - t) * v, x + (t_next - t) * velocity(x, t)
    report = guided_report(plan, FLOW, field, noise, times, form="output")
    assert relative(report.absolute[:, 0], slow) <= 1e-9
    assert relative(preview(plan, FLOW, field, noise, times).latent, y) <= 1e-9
    assert relative(guided_report(plan, FLOW, field, noise, times).absolute[:, 0], slow) > 0.01


def test_the_paper_statement_on_a_field_of_neighbours():
    """From t_D to t_{D+m} the norm rises without guidance and falls with it (arXiv 2604.09227), and the preview ends
    nearer to the final.

    That is the norm in denoised predictions. In velocities it rises with guidance, too: v = (x - x0hat) / t has the
    state in it, which guidance moves. Guidance of the other sign makes the velocities agree and the images differ.
    """
    noise, times, m = normal(1, 24, 1, 16, 16), shifted(30), PAPER.steps
    free = low(10, operator="strided", selection="argmin")
    guided = free.with_last(guidance=PAPER)

    def change(plan, form, alternative):
        report = guided_report(plan, FLOW, Wavy(), noise, times, form=form)
        return report.change(last=m, alternative=alternative).p_value

    def distance(plan):
        made = preview(plan, FLOW, Wavy(), noise, times)
        return np.linalg.norm(made.latent - made.transport.operator(finish(FLOW, Wavy(), noise, times)))

    assert change(free, "denoised", "greater") <= 1e-6
    assert change(guided, "denoised", "less") <= 1e-6
    assert change(guided, "denoised", "greater") > 0.99
    assert change(guided, "output", "greater") <= 1e-6
    stronger = free.with_last(guidance=Guidance("exact", 5, 0.1))
    assert distance(stronger) < distance(guided) < distance(free)


def test_a_report_along_a_plan_is_named_after_its_plan():
    report = guided_report(low(2, guidance=PAPER), FLOW, Wavy(), normal(0, 2, 1, SIDE, SIDE), shifted(5))
    assert report.name == "custom: mean, exact guidance"


def test_refusals_along_a_plan():
    noise, times = normal(0, 1, 1, SIDE, SIDE), shifted(8)
    with pytest.raises(ValueError, match="form must be one of"):
        guided_report(low(2), FLOW, Wavy(), noise, times, form="velocity")
    with pytest.raises(ValueError, match="a stage of 3 steps has no matched"):
        guided_report(low(2, steps=3), FLOW, Wavy(), noise, times)
    assert guided_report(low(2, steps=6), FLOW, Wavy(), noise, times).absolute.shape == (6, 1)
    for plan in (Plan.fewer(8), Plan.live(3), Plan(2, (high(2), Stage(2, 2)))):
        with pytest.raises(ValueError, match="a plan of one stage at a lower resolution"):
            guided_report(plan, FLOW, Wavy(), noise, times)


def by_enumeration(difference, alternative):
    """(statistic, p): the rank sum of positive differences among the 2^n equally likely sign patterns."""
    ranks = np.abs(difference).argsort().argsort() + 1
    observed = ranks[difference > 0].sum()
    sums = np.array([np.dot(signs, ranks) for signs in product((0, 1), repeat=len(ranks))])
    less, greater = (sums <= observed).mean(), (sums >= observed).mean()
    both = min(1.0, 2 * min(less, greater))
    statistic = min(observed, ranks.sum() - observed) if alternative == "two-sided" else observed
    return statistic, {"less": less, "greater": greater, "two-sided": both}[alternative]


@settings(max_examples=40)
@given(n=st.integers(1, 9), alternative=st.sampled_from(["two-sided", "less", "greater"]), seed=seeds)
def test_the_signed_rank_test_is_its_definition(n, alternative, seed):
    a, b = normal(seed, 2, n)
    result = signed_rank(a, b, ("a", "b"), alternative)
    assert (result.statistic, result.p_value) == pytest.approx(by_enumeration(a - b, alternative))
    assert result.median_difference == np.median(a - b)
    assert result.smaller == ("a" if np.median(a - b) < 0 else "b")


def test_the_side_of_the_signed_rank_test_matters():
    a, b = np.arange(8.0), np.arange(8.0) + np.linspace(1, 2, 8)
    assert signed_rank(a, b, ("a", "b"), "less").p_value == pytest.approx(2**-8)
    assert signed_rank(a, b, ("a", "b"), "greater").p_value == 1.0


def test_zero_differences_are_left_out_and_count_for_the_median():
    a, b = np.array([0.0, 0, 0, 1, 2, 3, 4]), np.zeros(7)
    result = signed_rank(a, b, ("a", "b"), "greater")
    assert result.p_value == pytest.approx(2**-4)
    assert result.median_difference == 1.0
    assert signed_rank(b, a[:3].repeat(3)[:7], ("a", "b")).p_value == 1.0
    assert signed_rank(b, b, ("a", "b")).smaller is None


def test_refusals_of_the_signed_rank_test():
    a = np.ones(4)
    with pytest.raises(ValueError, match="alternative must be one of"):
        signed_rank(a, a, ("a", "b"), "smaller")
    with pytest.raises(ValueError, match="got 4 and 3"):
        signed_rank(a, a[:3], ("a", "b"))
    with pytest.raises(ValueError, match="compare absolute norms"):
        signed_rank(a, a * np.nan, ("a", "b"))
