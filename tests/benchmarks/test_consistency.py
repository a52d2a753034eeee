"""The table's command runs, on the embedded model, and its figures are in the units it says."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

pytest.importorskip("diffusers")

from commutant.benchmarks import consistency
from commutant.integrations.scenes import WEIGHTS


def test_pairs_are_reproducible() -> None:
    first, again = consistency.prompts_and_seeds(5), consistency.prompts_and_seeds(6)
    assert first.prompts == again.prompts[:5]
    assert len(set(again.seeds)) == 6


@pytest.mark.slow
@pytest.mark.skipif(not WEIGHTS.exists(), reason="the embedded model's weights are not in this checkout")
def test_the_command(tmp_path: Path) -> None:
    consistency.main(["--pairs", "2", "--steps", "9", "--batch", "2", "--out", str(tmp_path)])
    with (tmp_path / "table.csv").open() as file:
        by_name = {line["plan"]: line for line in csv.DictReader(file)}
    assert 0 < float(by_name["matched"]["cost"]) < float(by_name["paper"]["cost"]) < 1.2
    assert all(5 < float(line["psnr"]) <= 60 and 0 < float(line["haarpsi"]) <= 1 for line in by_name.values())
    assert "| plan | cost | 16 + 1 | PSNR |" in (tmp_path / "table.md").read_text()
    assert "| matched - paper |" in (tmp_path / "findings.md").read_text()
