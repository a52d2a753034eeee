"""From outcomes to tables: the ledger, costs and workflows, ties and the choice within a budget."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from commutant.commutator import Guidance, Plan, PointwiseField, RectifiedFlow, Stage, euler, preset
from commutant.errors import Refusal
from commutant.integrations.evaluation.comparison import Seconds
from commutant.integrations.evaluation.ledger import Ledger, Outcome
from commutant.integrations.evaluation.methods import TABLES, Method, candidates
from commutant.integrations.evaluation.summary import (
    Summary,
    affordable,
    choose,
    markdown_table,
    workflow_table,
    write_csv,
)

STEPS = 30
METHODS = [
    Method("matched", "ours", preset("matched", STEPS)),
    Method("fewer", "baseline", Plan.fewer(8)),
    Method("dear", "baseline", Plan.fewer(20)),
    Method("cached", "baseline", None, "FirstBlockCache .2"),
]
METRICS = ("psnr", "flip")


def outcomes(pairs: int = 12, gap: float = 0.0) -> list[Outcome]:
    """Synthetic scores: `fewer` is better than `matched` by `gap` dB, with noise of 1 dB that differs by pair."""
    rng = np.random.default_rng(5)
    made = []
    for pair in range(pairs):
        base = 20 + 3 * rng.standard_normal()
        for name, high, low, finish, plus in (
            ("matched", 6, 8, 24, 0.0), ("fewer", 8, 0, 30, gap), ("dear", 20, 0, 30, 9.0), ("cached", 5, 0, 30, 4.0)
        ):  # fmt: skip
            psnr = base + plus + rng.standard_normal()
            image = Image.new("RGB", (8, 8), (pair, 0, 0))
            made.append(Outcome(pair, name, high, low, finish, {"psnr": psnr, "flip": 1 / psnr}, image))
    return made


def ledger(folder: Path, made: list[Outcome]) -> Ledger:
    out = Ledger(folder, [m.name for m in METHODS], METRICS, shown=2)
    out.add(made)
    return out


def summary(folder: Path, gap: float = 0.0) -> Summary:
    return Summary(ledger(folder, outcomes(gap=gap)), METHODS, {"2": 0.25, "4": 0.1}, STEPS)


def test_cost_and_workflow_are_counted_in_full_runs(tmp_path):
    matched, fewer, _, _ = summary(tmp_path).lines()
    assert matched.cost == pytest.approx((6 + 0.25 * 8) / 30)
    assert matched.finish == pytest.approx(24 / 30)
    assert matched.workflow(16) == pytest.approx(16 / (16 * 8 / 30 + 24 / 30))
    assert fewer.workflow(4) == pytest.approx(4 / (4 * 8 / 30 + 1))  # what cannot be resumed pays its final in full


def test_each_scale_has_its_own_cost_ratio(tmp_path):
    quarter = [Method("matched", "ours", preset("matched", STEPS, 4)), *METHODS[1:]]
    book = ledger(tmp_path, outcomes())
    made = Summary(book, quarter, {"2": 0.25, "4": 0.1}, STEPS).lines()[0]
    assert made.cost == pytest.approx((6 + 0.1 * 8) / 30)
    with pytest.raises(ValueError, match="r at scale 4 of 'matched' was not measured"):
        Summary(book, quarter, {"2": 0.25}, STEPS).lines()


def test_seconds_are_kept_by_scale():
    def preview(high, low, high_seconds, low_seconds):
        cost = SimpleNamespace(high=high, low=low, high_seconds=high_seconds, low_seconds=low_seconds)
        return SimpleNamespace(cost=cost)

    seconds = Seconds()
    assert seconds.ratios == {}
    seconds.add(preview(10, 0, 5.0, 0.0), 1)
    seconds.add(preview(0, 8, 0.0, 1.0), Fraction(2))
    seconds.add(preview(10, 4, 5.0, 0.2), 4)
    assert seconds.ratios == pytest.approx({"2": 0.25, "4": 0.1})


def test_a_ledger_is_read_back_and_gone_on_with(tmp_path):
    made = outcomes(6)
    first = ledger(tmp_path, made[:-2])
    assert first.complete() == 5
    assert first.image_path(1, "matched").exists()
    assert not first.image_path(2, "matched").exists()
    again = Ledger(tmp_path, [m.name for m in METHODS], METRICS)
    assert again.complete() == 5
    assert again.rows == first.rows
    again.add(made[-2:])
    assert again.complete() == 6


def test_a_line_cut_short_is_dropped_and_other_faults_are_refused(tmp_path):
    book = ledger(tmp_path, outcomes(3))
    text = book.path.read_text()
    book.path.write_text(text[:-9])
    assert Ledger(tmp_path, book.methods, METRICS).complete() == 2
    for broken, said in (
        (text.replace("matched", "other"), "another comparison"),
        (text.replace("psnr", "ssim"), "other columns"),
        (text + "x,matched,1,1,1,1,1\n", "no row of numbers"),
        (text + "9,matched,nan,1,1,1,1\n", "out of range"),
        (text + "-1,matched,1,1,1,1,1\n", "out of range"),
    ):
        book.path.write_text(broken)
        with pytest.raises(Refusal, match=said):
            Ledger(tmp_path, book.methods, METRICS)
        assert book.path.read_text() == broken  # a refused file loses nothing


def test_nothing_is_summed_up_without_a_whole_pair(tmp_path):
    with pytest.raises(ValueError, match="no pair"):
        Summary(ledger(tmp_path, outcomes(1)[:-1]), METHODS, {"2": 0.25, "4": 0.1}, STEPS)


def test_the_frontier_leaves_out_what_is_beaten_in_both(tmp_path):
    names = [p.name for p in summary(tmp_path, gap=5.0).frontier("psnr")]
    assert names == ["cached", "fewer", "dear"]
    assert "matched" in [p.name for p in summary(tmp_path / "b", gap=-5.0).points("psnr")]


def test_the_choice_is_the_best_that_the_budget_allows(tmp_path):
    clear = choose(summary(tmp_path / "a", gap=5.0), 0.3, "psnr")
    assert clear.line.method.name == "fewer"
    assert [line.method.name for line in clear.tied] == ["fewer"]
    assert clear.baseline is None
    assert clear.plan == Plan.fewer(8)
    assert choose(summary(tmp_path / "a2", gap=5.0), 0.3, "flip").line.method.name == "fewer"  # lower is better there
    # The dear one is best of all, and over the budget.
    assert choose(summary(tmp_path / "b", gap=5.0), 1.0, "psnr").line.method.name == "dear"
    with pytest.raises(ValueError, match=r"cheapest costs 0\.27"):
        choose(summary(tmp_path / "c"), 0.1, "psnr")


def test_ties_go_to_the_faster_workflow_and_a_better_cache_is_named(tmp_path):
    tied = choose(summary(tmp_path, gap=0.0), 0.3, "psnr")
    assert {line.method.name for line in tied.tied} == {"matched", "fewer"}
    assert tied.line.method.name == "matched"  # same cost, and its finish resumes
    assert tied.baseline is not None
    assert tied.baseline.method.name == "cached"


def test_what_cannot_be_afforded_is_not_tried():
    every = candidates(STEPS)
    kept = affordable(every, 0.3, STEPS)
    assert 0 < len(kept) < len(every)
    assert all(m.high_evaluations <= 9 for m in kept)


@pytest.mark.parametrize("steps", [2, 3, 8, 30, 50])
def test_every_table_can_be_made_for_any_number_of_steps(steps):
    for methods in (*(table(steps) for table in TABLES.values() if steps >= 8), candidates(steps)):
        names = [m.name for m in methods]
        assert len(set(names)) == len(names)
        for method in methods:
            if method.plan is not None:
                assert method.plan.head <= steps - bool(method.plan.stages)


def test_tables_say_what_the_lines_hold(tmp_path):
    lines = summary(tmp_path).lines({"matched": 3.5})
    table = markdown_table(lines, METRICS)
    assert "| matched | 0.267 | 3.50x |" in table
    assert "speed-up" not in markdown_table(summary(tmp_path / "b").lines(), METRICS)
    assert "| fewer | 1.00 |" in workflow_table(lines)
    write_csv(lines, METRICS, tmp_path / "t.csv")
    assert (tmp_path / "t.csv").read_text().splitlines()[1].startswith("matched,ours,0.26667,0.80000,3.500,")


@pytest.mark.parametrize(
    ("plan", "count"),
    [
        (Plan.fewer(8), 8),
        (Plan.live(6), 6),
        (preset("matched", STEPS), 7),  # the head, and the reference at the switch
        (preset("direct", STEPS), 0),
        (Plan(0, (Stage(1, 2), Stage(2, 4))), 2),
        (Plan(0, (Stage(1, 2), Stage(2, 4, guidance=Guidance("defect", 2, 1.0)))), 3),
        (Plan(4, (Stage(1, 2), Stage(2, 4, guidance=Guidance("defect", 2, 1.0)))), 7),
        (Plan(4, (Stage(1, 3),)), 7),
    ],
)
def test_high_evaluations_are_those_that_the_reference_sampler_counts(plan: Plan, count: int):
    times = np.linspace(1, 0, (plan.steps if plan.own_schedule else STEPS) + 1).tolist()
    noise = np.random.default_rng(1).standard_normal((1, 1, 8, 8))
    made = euler.preview(plan, RectifiedFlow(), PointwiseField(lambda x, t: 0.5 * x), noise, times)
    assert Method("a", "ours", plan).high_evaluations == made.high_evaluations == count
