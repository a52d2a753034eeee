"""`commutant transform`: what it makes of what a person types, and what it refuses before a model is loaded."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from commutant.integrations import cli
from commutant.integrations.cli import models, values
from commutant.integrations.sheets.folder import SheetFolder
from commutant.operators import Affine, Flip, Translate, Warp

from .fakes import FakePreviewer, preview, record

Capture = pytest.CaptureFixture[str]
FLOW = np.random.default_rng(0).normal(size=(64, 96, 2)).astype(np.float32)


@pytest.fixture
def sheet(tmp_path: Path) -> Path:
    folder = SheetFolder.create(tmp_path / "sheet", record())
    for seed in (0, 3):
        folder.add(preview(seed))
    return folder.path


@pytest.fixture
def previewer(monkeypatch: pytest.MonkeyPatch) -> FakePreviewer:
    fake = FakePreviewer()
    monkeypatch.setattr(models, "load", lambda *_, **__: object())
    monkeypatch.setattr("commutant.adapters.diffusers.Previewer", lambda *_, **__: fake)
    return fake


MOVES = [
    (["--translate", "32,-16"], Translate(32, -16), "translate 32,-16"),
    (["--translate=-32"], Translate(-32, 0), "translate -32,0"),
    (["--rotate", "-8"], Affine.rotation(-8, fill="reflect"), "rotate -8"),
    (["--zoom", "1.2"], Affine.zoom(1.2, fill="reflect"), "zoom 1.2"),
    (["--flip", "h"], Flip("horizontal"), "flip h"),
    (["--flip", "v"], Flip("vertical"), "flip v"),
]


@pytest.mark.parametrize(("line", "operator", "how"), MOVES, ids=lambda v: str(v)[:30])
def test_moves(sheet: Path, previewer: FakePreviewer, capsys: Capture, line, operator, how) -> None:
    assert cli.main(["transform", str(sheet), "--pick", "3", *line]) == 0
    assert previewer.operators == [operator]
    assert f"transform-3-1.png  ({how}; 5 of 6 evaluations" in capsys.readouterr().out
    page = (sheet / "index.html").read_text()
    assert f"<figcaption>{how}</figcaption>" in page
    assert cli.main(["info", str(sheet)]) == 0
    assert f"transform-3-1.png ({how})" in capsys.readouterr().out

    assert cli.main(["transform", str(sheet), "--all", *line]) == 0  # the other seed only
    assert previewer.asked == [3, 0]
    assert "transform-3-1.png  (made already)" in capsys.readouterr().out
    assert cli.main(["transform", str(sheet), "--pick", "3", *line, "--at", "1", "--noise-seed", "5"]) == 0
    assert (sheet / "transform-3-2.png").is_file()
    moved = SheetFolder.open(sheet).record.entry(3).transforms
    assert [(m.at, m.noise_seed) for m in moved] == [(2, 0), (1, 5)]


def test_warp(sheet: Path, previewer: FakePreviewer, tmp_path: Path) -> None:
    np.save(tmp_path / "flow.npy", FLOW)
    line = ["transform", str(sheet), "--pick", "0", "--warp", str(tmp_path / "flow.npy")]
    assert cli.main(line) == 0
    assert previewer.operators == [Warp(FLOW, fill="reflect")]
    assert cli.main(line) == 0  # another name for the same bytes is the same movement
    assert len(previewer.operators) == 1
    np.save(tmp_path / "flow.npy", FLOW + 1)
    assert cli.main(line) == 0
    assert len(previewer.operators) == 2


def files(tmp_path: Path) -> dict[str, Path]:
    bad = FLOW.copy()
    bad[0, 0] = np.inf
    arrays = {
        "small": FLOW[:10],
        "flat": FLOW[..., 0],
        "whole": FLOW.astype(int),
        "infinite": bad,
        "pickled": np.array([{"a": 1}], dtype=object),
    }
    for name, array in arrays.items():
        np.save(tmp_path / f"{name}.npy", array, allow_pickle=True)
    np.savez(tmp_path / "archive.npz", flow=FLOW)
    (tmp_path / "text.npy").write_text("hello")
    (tmp_path / "cut.npy").write_bytes((tmp_path / "small.npy").read_bytes()[:-4])
    return {p.stem: p for p in (*tmp_path.glob("*.np?"), tmp_path / "nowhere.npy")}


FLOWS = {
    "small": r"floating-point array of \(64, 96, 2\), got float32 \(10, 96, 2\)",
    "flat": "got float32",
    "whole": "got int64",
    "infinite": "not finite",
    "pickled": "no .npy array",
    "archive": "got an archive",
    "text": "no .npy array",
    "cut": "no .npy array",
    "nowhere": "no such file",
}


@pytest.mark.parametrize("name", FLOWS)
def test_flows_are_not_trusted(sheet: Path, tmp_path: Path, capsys: Capture, name: str) -> None:
    path = files(tmp_path)[name]
    assert cli.main(["transform", str(sheet), "--pick", "0", "--warp", str(path)]) == 2
    said = capsys.readouterr().err
    assert re.search(FLOWS[name], said), said
    assert said.count("\n") == 1


def test_refused_before_a_model_is_loaded(sheet: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object) -> None:
        raise AssertionError("a model was loaded")

    monkeypatch.setattr(models, "load", never)
    for line, said in (
        (["--pick", "5", "--flip", "h"], "no preview of seed 5"),
        (["--pick", "3", "--flip", "h", "--at", "6"], "must lie in 0-5"),
        (["--pick", "3", "--flip", "h", "--dtype", "bfloat16"], "made with dtype float32"),
    ):
        assert cli.main(["transform", str(sheet), *line]) == 2
        assert said in capsys.readouterr().err


MISUSE = [
    ["--flip", "x"],
    ["--translate", "1.5,0"],
    ["--translate", "1,2,3"],
    ["--zoom", "0"],
    ["--zoom", "nan"],
    ["--rotate", "inf"],
    ["--flip", "h", "--rotate", "3"],
    ["--at", "3"],
    ["--flip", "h", "--at", "-1"],
]


@pytest.mark.parametrize("line", MISUSE, ids=" ".join)
def test_misuse(line: list[str], capsys: Capture) -> None:
    with pytest.raises(SystemExit) as stopped:
        cli.main(["transform", "sheet", "--all", *line])
    assert stopped.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_displacements() -> None:
    assert values.displacement(" 32 , -16 ") == (32, -16)
    assert values.displacement("+8") == (8, 0)


def test_ctrl_c_keeps_what_was_made(sheet: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    monkeypatch.setattr(models, "load", lambda *_, **__: object())
    monkeypatch.setattr("commutant.adapters.diffusers.Previewer", lambda *_, **__: FakePreviewer(stop_at=3))
    assert cli.main(["transform", str(sheet), "--all", "--flip", "h"]) == 130
    assert "stopped after 1 of 2" in capsys.readouterr().err
    assert (sheet / "transform-0-1.png").is_file()
    assert "transform-0-1" not in (sheet / "index.html").read_text()  # pictures are inside the page, not beside it
    assert "<figcaption>flip h</figcaption>" in (sheet / "index.html").read_text()
