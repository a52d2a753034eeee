"""The table of picks: plans by name, what is kept of a prompt, the figures on made-up rows, and the command."""

from __future__ import annotations

import csv
import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("diffusers")

from commutant.benchmarks import picking
from commutant.commutator import Plan, preset
from commutant.errors import Refusal
from commutant.integrations.evaluation import LinearTastes
from commutant.integrations.plans import PlanFile
from commutant.integrations.scenes import WEIGHTS

STEPS, RATIO = 30, 0.25


def test_plans_by_name(tmp_path: Path) -> None:
    assert picking.plan_of("live8", 30) == Plan.live(8)
    assert picking.plan_of("fewer8", 30) == Plan.fewer(8, order=2)
    assert picking.plan_of("euler8", 30) == Plan.fewer(8)
    assert picking.plan_of("paper", 30) == preset("paper", 30)
    plan = picking.plan_of("stages4-2-4", 30)
    assert (plan.head, plan.scale, plan.recorded_steps) == (4, 2, 5)
    assert [(stage.steps, stage.order) for stage in plan.stages] == [(2, 2), (4, 1)]
    assert plan.stages[1].guidance is not None
    assert plan.stages[1].guidance.reference == "switch"
    last = picking.plan_of("stages3-4-4-last", 30).stages[1].guidance
    assert last is not None
    assert last.reference == "last"
    alone = picking.plan_of("stages6-0-5", 30)
    assert alone.replaced(name="matched") == preset("matched", 30)
    PlanFile(plan, 30, {}).save(tmp_path / "mine.json")
    assert picking.plan_of(str(tmp_path / "mine.json"), 30) == plan
    with pytest.raises(Refusal, match="finals of 30 steps, not of 20"):
        picking.plan_of(str(tmp_path / "mine.json"), 20)
    for wrong in ("lives", "live8x", "stages4-2", "best", "live0", "fewer0", "stages4-2-0"):
        with pytest.raises(Refusal, match=wrong):
            picking.plan_of(wrong, 30)


def test_ladders_by_name() -> None:
    assert picking.Ladder.of("a:4:b") == picking.Ladder(("a", "b"), (4,))
    assert str(picking.Ladder.of("a:8:b:2:c")) == "a, 8 by b, 2 by c"
    for wrong in ("a", "a:4", "a:b:c", ":4:b", "a:4:"):
        with pytest.raises(Refusal, match="PLAN:KEPT:PLAN"):
            picking.Ladder.of(wrong)


def row(plan: Plan, scores: np.ndarray, counts: tuple[float, float, float], low_seconds: float = 0.0) -> picking.Row:
    """Features of which a taste sees one, and the same as evidence."""
    count = len(scores)
    timed = np.array([count * counts[0], count * counts[0], low_seconds, count * counts[1]])
    return picking.Row(json.dumps(plan.to_dict()), scores[:, None], scores, np.tile(counts, (count, 1)), timed)


def made_up(folder: Path, prompts: int = 12, seeds: int = 8) -> tuple[list[picking.Group], dict[str, Plan]]:
    """Groups whose `stages4-2-4` previews follow the finals closely and whose `live6` ones do so roughly."""
    plans = {name: picking.plan_of(name, STEPS) for name in ("live6", "stages4-2-4", "fewer8")}
    rng, groups = np.random.default_rng(0), []
    for i in range(prompts):
        finals, noise = rng.standard_normal(seeds), rng.standard_normal((3, seeds))
        group = picking.Group(folder / f"{i}.npz")
        group.rows = {
            "final": row(Plan.live(STEPS), finals, (30.0, 0.0, 30.0)),
            "live6": row(plans["live6"], finals + noise[0], (6.0, 0.0, 6.0)),
            "stages4-2-4": row(plans["stages4-2-4"], finals + 0.2 * noise[1], (7.0, 4.0, 5.0), RATIO * 4 * seeds),
            "fewer8": row(plans["fewer8"], noise[2], (8.0, 0.0, 0.0)),
        }
        groups.append(group)
    return groups, plans


def test_a_prompt_is_kept_and_read_again(tmp_path: Path) -> None:
    groups, plans = made_up(tmp_path, prompts=1)
    assert not list(tmp_path.iterdir())
    groups[0].save()
    again = picking.Group(groups[0].path)
    assert list(again.rows) == list(groups[0].rows)
    for name, found in again.rows.items():
        for field in ("features", "evidence", "counts", "timed"):
            np.testing.assert_array_equal(getattr(found, field), getattr(groups[0].rows[name], field))
    more = {**plans, "live8": Plan.live(8)}
    assert again.missing(more) == {"live8": Plan.live(8)}
    with pytest.raises(Refusal, match="another plan 'live6'"):
        again.missing({"live6": Plan.live(7)})


def test_lines_and_tables(tmp_path: Path) -> None:
    groups, plans = made_up(tmp_path)
    tastes = LinearTastes(np.array([[1.0], [-1.0]]))
    scores = picking.Scores(groups, plans, tastes, STEPS)
    assert scores.ratios == {Fraction(2): pytest.approx(RATIO)}
    lines = scores.lines([picking.Ladder.of("live6:3:stages4-2-4")])
    by_name = {line.name: line for line in lines}
    stages, laddered = by_name["stages4-2-4"], by_name["live6, 3 by stages4-2-4"]
    assert stages.cost == pytest.approx(8.0 / 30)
    assert stages.total == pytest.approx((8 * 8.0 + 25) / 30)
    assert by_name["fewer8"].total == pytest.approx((8 * 8.0 + 30) / 30)
    assert laddered.total == pytest.approx((8 * 6.0 + 3 * (8.0 - 5.0) + 24) / 30)
    assert (by_name["blind"].total, by_name["all finals"].total) == (1.0, 8.0)
    kept = {name: line.picks["evidence"].kept.mean() for name, line in by_name.items()}
    assert kept["blind"] == pytest.approx(0.0, abs=1e-12)
    assert kept["all finals"] == 1.0
    assert kept["fewer8"] + 0.2 < kept["live6"] <= kept["live6, 3 by stages4-2-4"] <= kept["stages4-2-4"]
    # The taste for the opposite has the same tau.
    np.testing.assert_allclose(stages.picks["tastes"].tau, stages.picks["evidence"].tau)

    text = picking.markdown_table(lines)
    assert text.count("\n") == 2 + len(lines)
    assert "| blind | 0.000 | 1.00 | 0.000 [0.000, 0.000] |" in text
    found = picking.differences([by_name["fewer8"], laddered, by_name["blind"]], "fewer8").splitlines()[2:]
    assert [line.split(" | ")[0] for line in found] == ["| live6, 3 by stages4-2-4"]
    picking.write_csv(lines, tmp_path / "table.csv")
    with (tmp_path / "table.csv").open() as file:
        read = {line["picked_by"]: line for line in csv.DictReader(file)}
    assert float(read["stages4-2-4"]["all"]) == pytest.approx(stages.total, rel=1e-4)
    low, mean, high = (float(read["live6"]["tastes_kept" + end]) for end in ("_low", "", "_high"))
    assert low < mean < high


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--seeds", "1"], "2 to 1000 seeds"),
        (["--plans", "fewer8", "--ladder", "live4:16:fewer8"], "keeps fewer"),
        (["--plans", "live4", "--ladder", "live4:2:live6"], "fewer8 is not among"),
        (["--plans", "nothing"], "no plan 'nothing'"),
    ],
)
def test_what_is_refused_before_the_model_is_loaded(
    arguments: list[str], message: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def loaded(**_: object) -> None:
        raise AssertionError("the model was loaded")

    monkeypatch.setattr(picking, "load_scenes", loaded)
    with pytest.raises(Refusal, match=message):
        picking.main([*arguments, "--out", str(tmp_path)])
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.skipif(not WEIGHTS.exists(), reason="the embedded model's weights are not in this checkout")
def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = ["--prompts", "1", "--seeds", "2", "--steps", "4", "--tastes", "5", "--out", str(tmp_path)]
    base += ["--against", "live2", "--ladder", "live1:1:stages2-0-1"]
    picking.main([*base, "--plans", "live2"])
    before = picking.Group(tmp_path / "prompt-0000.npz")
    picking.main([*base, "--plans", "live2", "stages1-1-1"])  # a plan more: what is there stays as it is
    after = picking.Group(tmp_path / "prompt-0000.npz")
    assert set(after.rows) - set(before.rows) == {"stages1-1-1"}
    for name, found in before.rows.items():
        np.testing.assert_array_equal(found.timed, after.rows[name].timed)
    counts = {name: tuple(found.counts[0]) for name, found in after.rows.items()}
    assert counts == {
        "final": (4, 0, 4), "live2": (2, 0, 2), "live1": (1, 0, 1), "stages2-0-1": (3, 1, 3), "stages1-1-1": (3, 1, 2)
    }  # fmt: skip
    with (tmp_path / "table.csv").open() as file:
        names = [line["picked_by"] for line in csv.DictReader(file)]
    assert names[0] == "blind"
    assert names[-2:] == ["live1, 1 by stages2-0-1", "all finals"]
    assert "| stages1-1-1 |" in (tmp_path / "differences.md").read_text()
    assert (tmp_path / "kept.png").stat().st_size > 1000

    def never(*_: object) -> None:
        raise AssertionError("measured again")

    monkeypatch.setattr(picking, "measured", never)
    picking.main([*base, "--plans", "live2"])
    with pytest.raises(Refusal, match="another number of seeds"):
        picking.main([*base, "--plans", "live2", "--seeds", "3"])
