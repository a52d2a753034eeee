"""`compare`, `calibrate` and `preview --plan` with a real (tiny, random) pipeline in a folder."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

import pytest

from commutant.integrations import cli
from commutant.integrations.plans import PlanFile
from commutant.integrations.sheets.folder import SheetFolder

from ..diffusers.tiny import tiny_flux

SIZE = ["--size", "96x64", "--steps", "6"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model") / "tiny"
    tiny_flux().save_pretrained(folder)
    return folder


@pytest.fixture
def asked(model: Path, tmp_path: Path) -> list[str]:
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("a fox\n\na balloon on a red background\n")
    return ["--model", str(model), "--prompts", str(prompts), "--pairs", "3", "--batch", "2", *SIZE]


def test_calibrate_writes_a_plan_that_preview_uses(
    asked: list[str], model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "plan.json"
    arguments = ["calibrate", *asked, "--budget", "0.6", "--metric", "psnr", "--out", str(out)]
    assert cli.main(arguments) == 0
    said = capsys.readouterr().out
    found = PlanFile.load(out)
    assert found.measured["entry"] in said
    assert found.measured["cost"] <= 0.6
    with (tmp_path / "plan.work" / "table.csv").open() as file:
        rows = {row["plan"]: row for row in csv.DictReader(file)}
    best = rows[found.measured["entry"]]
    for row in rows.values():  # nothing affordable is better by more than chance could make it
        if float(row["cost"]) <= 0.6 and "with" not in row["plan"]:
            assert float(row["psnr"]) <= float(best["psnr"]) + 3.0
    assert any(name.startswith("HR with FirstBlockCache") for name in rows)
    # Again: everything is on file already, and nothing is computed.
    before = out.read_text()
    assert cli.main(arguments) == 0
    assert out.read_text() == before

    request = ["preview", "a fox", "--model", str(model), "--seeds", "1", *SIZE, "--out", str(tmp_path / "sheet")]
    assert cli.main([*request, "--plan", str(out)]) == 0
    assert SheetFolder.open(str(tmp_path / "sheet")).record.plan == found.plan
    for more, word in ((["--switch", "2"], "--switch"), (["--steps", "7"], "for 6 steps")):
        capsys.readouterr()
        assert cli.main([*request, "--plan", str(out), *more]) == 2
        assert word in capsys.readouterr().err


def test_a_sheet_without_low_resolution_is_finished_like_any_other(model: Path, tmp_path: Path) -> None:
    from commutant.commutator import Plan

    plan, sheet = tmp_path / "fewer.json", tmp_path / "sheet"
    PlanFile(Plan.fewer(3, order=2), 6, {}).save(plan)
    request = ["preview", "a fox", "--model", str(model), "--seeds", "1,2", *SIZE, "--out", str(sheet)]
    assert cli.main([*request, "--plan", str(plan)]) == 0
    assert cli.main(["finish", str(sheet), "--pick", "2"]) == 0
    assert cli.main(["info", str(sheet)]) == 0


def test_compare_goes_on_where_it_was(asked: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "compare"
    eight = [a if a != "6" else "8" for a in asked]
    command = ["compare", *eight, "--out", str(out), "--timed", "1"]
    assert cli.main(command) == 0
    names = {"table.md", "table.csv", "workflow.md", "frontier-haarpsi.png", "frontier-psnr.png", "strip.webp"}
    assert names <= {path.name for path in out.iterdir()}
    whole = (out / "scores.csv").read_text()
    rows = list(csv.DictReader(whole.splitlines()))
    assert {int(row["pair"]) for row in rows} == {0, 1, 2}
    assert all(0 < float(row["psnr"]) <= 60 for row in rows)
    assert json.loads((out / "run.json").read_text())["speedups"]["paper"] > 0
    # Cut the last pairs off: they are made again, and come out as before.
    lines = whole.splitlines(keepends=True)
    kept = [line for line in lines if not line.startswith("2,")]
    (out / "scores.csv").write_text("".join(kept))
    assert cli.main(command) == 0
    again = {(r["pair"], r["entry"]): r["psnr"] for r in csv.DictReader((out / "scores.csv").read_text().splitlines())}
    for row in rows:
        assert float(again[row["pair"], row["entry"]]) == pytest.approx(float(row["psnr"]), abs=0.05)

    # Another model, settings or seeds do not go on there, and what is there stays.
    before = (out / "scores.csv").read_bytes()
    other = tmp_path / "other.txt"
    other.write_text("a fox\nanother prompt\n")
    tiny_flux(seed=1).save_pretrained(tmp_path / "other")
    for change, said in (
        (["--seed", "7"], "other prompts or seeds"),
        (["--prompts", str(other)], "other prompts or seeds"),
        (["--guidance", "2"], "another guidance_scale"),
        (["--model", str(tmp_path / "other")], "another model"),
    ):
        capsys.readouterr()
        assert cli.main([*command, *change]) == 2
        assert said in capsys.readouterr().err
    record = out / "run.json"
    for damage in (lambda: record.write_text("{}"), record.unlink):
        damage()
        assert cli.main(command) == 2
        assert "run.json" in capsys.readouterr().err
    assert (out / "scores.csv").read_bytes() == before


@pytest.mark.parametrize("command", ["compare", "calibrate"])
def test_no_pair_is_made_where_the_plot_cannot_be_drawn(
    command: str, asked: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert cli.main([command, *asked, "--out", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert "matplotlib, which is not installed" in said
    assert "pairs" not in said


def test_refusals_come_before_the_model_is_loaded(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    empty = tmp_path / "empty.txt"
    empty.write_text("\n")
    for arguments, said in (
        (["calibrate", "--model", "nowhere/none"], "--prompts"),
        (["calibrate", "--budget", "1.5"], "--budget"),
        (["calibrate", "--metric", "piqe"], "--metric"),
        (["calibrate", "--out", str(tmp_path)], "folder"),
        (["compare", "--prompts", str(empty)], "0 prompts"),
        (["compare", "--prompts", str(tmp_path / "none.txt")], "cannot read"),
    ):
        assert cli.main(arguments) == 2
        assert said in capsys.readouterr().err
