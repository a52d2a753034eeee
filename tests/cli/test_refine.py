"""Refined previews: how a sheet keeps them, and the command that makes them."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from commutant.adapters.sheet import Cost
from commutant.errors import SheetError
from commutant.integrations import cli
from commutant.integrations.cli import refine as refining
from commutant.integrations.sheets.folder import SheetFolder

from .fakes import PLAN, FakePreviewer, picture, preview, record


@pytest.fixture
def folder(tmp_path: Path) -> SheetFolder:
    sheet = SheetFolder.create(tmp_path / "sheet", record())
    for seed in (3, 0, 7):
        sheet.add(preview(seed))
    return sheet


def refined(seed: int, head: int) -> Any:
    made = preview(seed, PLAN.replaced(head=head, name=PLAN.name))
    return dataclasses.replace(made, image=picture(seed + 500 * head))


def test_a_refined_preview_takes_the_place_of_its_seed(folder: SheetFolder) -> None:
    folder.add_final(3, picture(3, (96, 64)), Cost(5, 0, 6))
    folder.add(refined(3, 4))
    again = SheetFolder.open(folder.path)
    assert again.record.entry(3).head == 4
    assert again.record.entry(0).head is None
    assert again.finished(3)
    assert again.load(3, framework="numpy").plan.head == 4
    assert again.load(0, framework="numpy").plan == PLAN
    files = sorted(p.name for p in folder.path.glob("*-3*"))
    assert files == ["final-3.png", "preview-3-4.png", "tape-3-4.safetensors"]
    again.add(refined(3, 5))
    assert sorted(p.name for p in folder.path.glob("preview-3*")) == ["preview-3-5.png"]
    assert again.ready() == (0, 3, 7)
    with pytest.raises(SheetError, match="another plan"):
        again.add(preview(3, PLAN.with_last(steps=2).replaced(head=4, name=PLAN.name)))


def test_a_refinement_that_was_never_recorded_is_swept(folder: SheetFolder) -> None:
    (folder.path / "tape-3-4.safetensors").write_bytes(b"half")
    (folder.path / "preview-9-4.png").write_bytes(b"of a seed that is not here")
    again = SheetFolder.open(folder.path)
    again.add(preview(8))
    assert not (folder.path / "tape-3-4.safetensors").exists()
    assert (folder.path / "tape-3.safetensors").exists()
    assert (folder.path / "preview-9-4.png").exists()


@pytest.fixture
def previewer(monkeypatch: pytest.MonkeyPatch) -> FakePreviewer:
    made = FakePreviewer()
    monkeypatch.setattr(refining, "previewer_of", lambda *_: made)
    return made


def test_the_command(folder: SheetFolder, previewer: FakePreviewer, capsys: pytest.CaptureFixture[str]) -> None:
    before = folder.record.entry(3).cost
    assert cli.main(["refine", str(folder.path), "--pick", "3", "7", "--switch", "3"]) == 0
    said = capsys.readouterr().out
    assert "preview-3-3.png  (step 3, 1 evaluations more at full size, 2 small" in said
    again = SheetFolder.open(folder.path)
    assert [again.record.entry(s).head for s in (0, 3, 7)] == [None, 3, 3]
    after = again.record.entry(3).cost
    assert (after.high, after.low, after.full) == (2 * before.high, 2 * before.low, before.full)
    assert cli.main(["refine", str(folder.path), "--all", "--switch", "3"]) == 0
    said = capsys.readouterr().out
    assert said.count("(refined so far already)") == 2
    assert "preview-0-3.png" in said


@pytest.mark.parametrize(("switch", "said"), [("1", "choose a later one"), ("6", "choose a later one")])
def test_a_switch_that_is_no_later_one_is_refused(
    folder: SheetFolder, previewer: FakePreviewer, capsys: pytest.CaptureFixture[str], switch: str, said: str
) -> None:
    assert cli.main(["refine", str(folder.path), "--all", "--switch", switch]) == 2
    assert said in capsys.readouterr().err
    assert previewer.asked == []


def test_previews_that_no_final_continues_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from commutant.commutator import Plan

    SheetFolder.create(tmp_path / "sheet", record(plan=Plan.fewer(3))).add(preview(1, Plan.fewer(3)))
    assert cli.main(["refine", str(tmp_path / "sheet"), "--all"]) == 2
    assert "record nothing that a final continues" in capsys.readouterr().err


def test_nothing_is_lost_when_it_stops(folder: SheetFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refining, "previewer_of", lambda *_: FakePreviewer(stop_at=3))
    assert cli.main(["refine", str(folder.path), "--all", "--switch", "3"]) == 130
    again = SheetFolder.open(folder.path)
    assert [again.record.entry(s).head for s in (0, 3, 7)] == [3, None, None]
    assert again.ready() == (0, 3, 7)
