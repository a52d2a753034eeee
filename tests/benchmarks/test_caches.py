"""The bookkeeping of the cache benchmark: which plain runs cost the same, and what a row is compared with."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("diffusers")

from commutant.benchmarks.caches import PLAIN, PREVIEW, Measured, Row, fewer, line, main, rows
from commutant.integrations.scenes import WEIGHTS


def picture(value: int) -> Image.Image:
    return Image.fromarray(np.full((16, 16, 3), value, np.uint8))


def test_plain_runs_of_equal_cost_are_merged() -> None:
    found = fewer({"a": 0.5, "b": 0.49, "c": 0.01, "slower": 1.2}, 30)
    assert [(row.steps, row.name) for row in found] == [
        (15, "plain in 15 steps (as a, b)"),
        (1, "plain in 1 steps (as c)"),
    ]
    assert [row.cache for row in rows(["x", "y"], 30)] == [None, "x", "y", None, "x", "y"]


def test_a_preview_is_compared_with_the_plain_run_and_with_its_own_final() -> None:
    found = {
        "plain": Measured([2.0, 4.0], [2.0, 2.0], [picture(100), picture(50)]),
        "Seer": Measured([1.0, 1.0], [1.0, 1.0], [picture(110), picture(60)]),
        "preview + Seer": Measured([0.5, 1.0], [0.5, 0.5], [picture(110), picture(60)]),
    }
    row, psnr = line(Row("preview + Seer", PREVIEW, "Seer", 30), found, (8, 8))
    assert (row["speedup"], row["cpu"], row["own"]) == ("4.00", "4.00", "60.00")
    np.testing.assert_allclose(psnr, 20 * np.log10(255 / 10), rtol=1e-6)
    cached, _ = line(Row("Seer", PLAIN, "Seer", 30), found, (8, 8))
    assert cached["own"] == ""


@pytest.mark.slow
@pytest.mark.skipif(not WEIGHTS.exists(), reason="the embedded model's weights are not in this checkout")
def test_the_command(tmp_path: Path) -> None:
    text = tmp_path / "table.md"
    main(["--pairs", "1", "--steps", "6", "--autocast", "--markdown", str(text)])
    shown = [line.split(" | ") for line in text.read_text().splitlines() if line.startswith("| ")]
    assert [cells[0] for cells in shown[1:3]] == ["| plain", "| TaylorSeer"]
    assert float(shown[1][3]) == 60.0
    assert all(5 < float(cells[3]) <= 60 for cells in shown[1:])
