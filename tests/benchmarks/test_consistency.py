"""The table's command runs, on the embedded model, and its figures are in the units it says."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

pytest.importorskip("diffusers")

from commutant.benchmarks import consistency
from commutant.benchmarks.rows import rows
from commutant.commutator import preset
from commutant.integrations.scenes import WEIGHTS


def test_rows_at_equal_cost() -> None:
    table = rows(30, lambda plan: plan.switch / 30)
    fewer = [row.steps for row in table if row.kind == "fewer"]
    assert fewer == [preset("matched", 30).switch, preset("paper", 30).switch]
    assert len({row.name for row in table}) == len(table)


def test_pairs_are_reproducible() -> None:
    first, again = consistency.prompts_and_seeds(5), consistency.prompts_and_seeds(6)
    assert first.prompts == again.prompts[:5]
    assert len(set(again.seeds)) == 6


@pytest.mark.slow
@pytest.mark.skipif(not WEIGHTS.exists(), reason="the embedded model's weights are not in this checkout")
def test_the_command(tmp_path: Path) -> None:
    table, text = tmp_path / "table.csv", tmp_path / "table.md"
    consistency.main(["--pairs", "2", "--steps", "6", "--batch", "2", "--csv", str(table), "--markdown", str(text)])
    with table.open() as file:
        lines = list(csv.DictReader(file))
    assert tuple(lines[0]) == consistency.COLUMNS
    by_name = {line["plan"]: line for line in lines}
    assert 0 < float(by_name["matched (default)"]["cost"]) < float(by_name["paper"]["cost"]) < 1.2
    assert all(5 < float(line["psnr"]) <= 60 and 0 < float(line["haarpsi"]) <= 1 for line in lines)
    assert "| plan | cost | speedup | psnr | haarpsi | sharpness |" in text.read_text()
