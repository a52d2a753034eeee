"""A sheet folder: what goes in comes out, and nothing damaged or foreign is taken for a sheet."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from commutant.adapters.sheet import Cost
from commutant.commutator import Plan, preset
from commutant.errors import SheetError
from commutant.integrations.sheets.folder import SheetFolder, missing_seeds, png
from commutant.integrations.sheets.record import ModelRecord, SheetRecord, ranges
from commutant.integrations.sheets.views import write_views

from .fakes import CALL, MODEL, PLAN, picture, preview, record


@pytest.fixture
def folder(tmp_path: Path) -> SheetFolder:
    sheet = SheetFolder.create(tmp_path / "sheet", record())
    for seed in (3, 0, 7):
        sheet.add(preview(seed))
    return sheet


def test_round_trip(folder: SheetFolder) -> None:
    again = SheetFolder.open(folder.path)
    assert again.record == folder.record
    assert again.seeds == (0, 3, 7)
    assert again.ready() == (0, 3, 7)
    loaded, made = again.load(3, framework="numpy"), preview(3)
    assert (loaded.seed, loaded.call, loaded.cost, loaded.plan) == (3, made.call, made.cost, made.plan)
    assert np.array_equal(loaded.tape.outputs[0], made.tape.outputs[0])
    assert np.array_equal(loaded.tape.state, made.tape.state)
    assert loaded.image.tobytes() == made.image.tobytes()


def test_record_round_trip_with_every_field() -> None:
    plan = preset("paper", 30, 4)
    model = ModelRecord("pretrained", "owner/name", "bfloat16", "cuda", "ab")
    call = {**CALL, "true_cfg_scale": 3.5, "negative_prompt": "мост"}
    made = SheetRecord(model, call, plan, head_batch=2)
    assert SheetRecord.from_json(made.to_json()) == made


def test_final_is_recorded_and_known_by_its_bytes(folder: SheetFolder) -> None:
    assert not folder.finished(3)
    path = folder.add_final(3, picture(3, (96, 64)), Cost(5, 0, 6))
    again = SheetFolder.open(folder.path)
    assert again.finished(3)
    path.write_bytes(path.read_bytes()[:-1])
    assert not again.finished(3)
    path.unlink()
    assert not again.finished(3)


def test_two_processes_on_one_sheet_lose_nothing(folder: SheetFolder) -> None:
    finishing, previewing = SheetFolder.open(folder.path), SheetFolder.open(folder.path)
    finishing.add_final(3, picture(3), Cost(5, 0, 6))
    previewing.add(preview(8))
    finishing.add_final(7, picture(7), Cost(5, 0, 6))
    there = SheetFolder.open(folder.path)
    assert there.seeds == (0, 3, 7, 8)
    assert there.finished(3)
    assert there.finished(7)


def test_preview_made_again_keeps_its_final_and_what_was_moved(folder: SheetFolder) -> None:
    folder.add_final(3, picture(3), Cost(5, 0, 6))
    path = folder.add_transform(3, picture(4), "rotate 8", 2, 0, Cost(5, 0, 6))
    folder.add(preview(3))
    assert folder.finished(3)
    assert folder.transform(3, "rotate 8", 2, 0) == path


def test_moved_images_are_known_by_what_made_them_and_by_their_bytes(folder: SheetFolder) -> None:
    made = [folder.add_transform(3, picture(k), "translate 8,0", k, 0, Cost(5, 0, 6)) for k in (1, 2)]
    assert [p.name for p in made] == ["transform-3-1.png", "transform-3-2.png"]
    there = SheetFolder.open(folder.path)
    assert there.record == folder.record
    assert there.transform(3, "translate 8,0", 2, 0) == made[1]
    for other in ((7, "translate 8,0", 2, 0), (3, "translate 9,0", 2, 0), (3, "translate 8,0", 3, 0)):
        assert there.transform(*other) is None
    assert there.transform(3, "translate 8,0", 2, 1) is None
    made[1].write_bytes(made[1].read_bytes()[:-1])
    assert there.transform(3, "translate 8,0", 2, 0) is None
    assert there.add_transform(3, picture(2), "translate 8,0", 2, 0, Cost(5, 0, 6)).name == "transform-3-3.png"
    assert there.transform(3, "translate 8,0", 2, 0) == folder.path / "transform-3-3.png"


WRONG_TRANSFORMS = {
    "elsewhere": ({"image": "../transform-3-1.png"}, "must be 'transform-3-1.png'"),
    "another number": ({"image": "transform-3-2.png"}, "must be 'transform-3-1.png'"),
    "long": ({"how": "x" * 201}, "one short line"),
    "lines": ({"how": "rotate 8\nmodel forged"}, "one short line"),
    "step": ({"at": -1}, "at least 0"),
    "seed": ({"noise_seed": "0"}, "noise_seed"),
    "digest": ({"sha256": "0"}, "SHA-256"),
    "unknown": ({"more": 1}, "exactly the fields"),
}


@pytest.mark.parametrize("name", WRONG_TRANSFORMS)
def test_malformed_transform_record(folder: SheetFolder, name: str) -> None:
    folder.add_transform(3, picture(3), "rotate 8", 2, 0, Cost(5, 0, 6))
    change, expected = WRONG_TRANSFORMS[name]
    path = folder.path / "sheet.json"
    data = json.loads(path.read_text())
    data["previews"][1]["transforms"][0].update(change)
    path.write_text(json.dumps(data))
    with pytest.raises(SheetError, match=expected):
        SheetFolder.open(folder.path)


def _as_first_version(folder: SheetFolder, **changes: Any) -> None:
    """`sheet.json` as release 0.1 wrote it, or releases before that."""
    data = json.loads((folder.path / "sheet.json").read_text())
    for entry in data["previews"]:
        entry["moved"] = entry.pop("transforms")
        for key in changes.get("without", ()):
            del entry[key]
        for number, moved in enumerate(entry.get("moved", ()), 1):
            name = f"moved-{entry['seed']}-{number}.png"
            (folder.path / moved["image"]).rename(folder.path / name)
            moved["image"] = name
    (folder.path / "sheet.json").write_text(json.dumps({**data, "version": 1}))


def test_a_sheet_written_before_there_were_transforms(folder: SheetFolder) -> None:
    _as_first_version(folder, without=["moved"])
    assert SheetFolder.open(folder.path).record == folder.record


def test_the_moved_images_of_the_first_version_are_transforms(folder: SheetFolder) -> None:
    folder.add_transform(3, picture(3), "rotate 8", 2, 0, Cost(5, 0, 6))
    _as_first_version(folder)
    there = SheetFolder.open(folder.path)
    assert there.transform(3, "rotate 8", 2, 0) == folder.path / "moved-3-1.png"
    assert not there.faults()
    # Extended, it is a sheet of this version, and the image keeps its name.
    assert there.add_transform(3, picture(4), "rotate 9", 2, 0, Cost(5, 0, 6)).name == "transform-3-2.png"
    assert json.loads((folder.path / "sheet.json").read_text())["version"] == 2
    assert SheetFolder.open(folder.path).transform(3, "rotate 8", 2, 0) == folder.path / "moved-3-1.png"
    write_views(there, "sheet")
    assert "<figcaption>rotate 8</figcaption>" in (folder.path / "index.html").read_text()


def _flip(data: bytes) -> bytes:
    return data[:-9] + bytes([data[-9] ^ 1]) + data[-8:]


DAMAGES = [_flip, lambda d: d[:-1], lambda d: d[:4], lambda d: b"", lambda d: png(picture(1)), lambda d: d + b"\0"]


@pytest.mark.parametrize("damage", DAMAGES)
def test_changed_picture_is_seen(folder: SheetFolder, damage: Callable[[bytes], bytes]) -> None:
    folder.add_final(0, picture(9, (96, 64)), Cost(5, 0, 6))
    for name in ("preview-3.png", "final-0.png"):
        path = folder.path / name
        path.write_bytes(damage(path.read_bytes()))
    there = SheetFolder.open(folder.path)
    assert there.ready() == (0, 7), "a preview that was changed is made again"
    assert not there.finished(0)
    assert list(there.faults()) == [0, 3]
    assert all("was changed or cut short" in fault for fault in there.faults().values())
    write_views(there, "sheet")
    page = (folder.path / "index.html").read_text()
    assert page.count('class="preview"') == 2, "what is not what was written is not shown"
    assert 'class="final"' not in page
    there.add(preview(3))
    assert there.ready() == (0, 3, 7)


@pytest.mark.parametrize("damage", [lambda d: d[:-30], lambda d: b"", lambda d: d[:40] + b"IDAX" + d[44:]])
def test_a_sheet_without_hashes_of_its_pictures(folder: SheetFolder, damage: Callable[[bytes], bytes]) -> None:
    _as_first_version(folder, without=["image_sha256"])
    assert SheetFolder.open(folder.path).ready() == (0, 3, 7)
    image = folder.path / "preview-3.png"
    image.write_bytes(damage(image.read_bytes()))
    there = SheetFolder.open(folder.path)
    assert there.ready() == (0, 7)
    assert "is no picture" in str(there.fault(3))
    write_views(there, "sheet")


@pytest.mark.parametrize("damage", [_flip, lambda d: d[:-1], lambda d: d[:4], lambda d: b"", lambda d: d + b"\0"])
def test_changed_tape_is_refused(folder: SheetFolder, damage: Callable[[bytes], bytes]) -> None:
    path = folder.path / "tape-3.safetensors"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(SheetError, match="changed or cut short"):
        folder.load(3)
    assert folder.ready() == (0, 7)
    assert folder.load(7, framework="numpy").seed == 7


def test_changed_tape_with_its_sha256_forged_is_refused_by_its_digest(folder: SheetFolder) -> None:
    import hashlib

    path = folder.path / "tape-3.safetensors"
    path.write_bytes(_flip(path.read_bytes()))
    text = (folder.path / "sheet.json").read_text()
    forged = text.replace(folder.record.entry(3).tape_sha256, hashlib.sha256(path.read_bytes()).hexdigest())
    (folder.path / "sheet.json").write_text(forged)
    with pytest.raises(SheetError, match="digest"):
        SheetFolder.open(folder.path).load(3, framework="numpy")


def test_missing_files(folder: SheetFolder) -> None:
    (folder.path / "tape-3.safetensors").unlink()
    (folder.path / "preview-7.png").unlink()
    with pytest.raises(SheetError, match=r"tape-3.safetensors is missing; .* --seeds 3"):
        folder.load(3)
    assert folder.fault(7) == "preview-7.png is missing; run the same preview with --seeds 7 to make it again"
    assert folder.ready() == (0,)


def test_tape_of_another_model(folder: SheetFolder) -> None:
    with pytest.raises(SheetError, match="another model"):
        folder.add(preview(9, model="other"))
    other = SheetFolder(
        folder.path, dataclasses.replace(folder.record, model=dataclasses.replace(MODEL, fingerprint="x"))
    )
    with pytest.raises(SheetError, match="another model"):
        other.load(3, framework="numpy")


def test_preview_of_another_request(folder: SheetFolder) -> None:
    with pytest.raises(SheetError, match="another plan"):
        folder.add(preview(9, plan=preset("paper", 6)))
    with pytest.raises(SheetError, match="another call"):
        folder.add(preview(9, call={**CALL, "prompt": "a dog"}))
    with pytest.raises(SheetError, match="generator"):
        folder.add(dataclasses.replace(preview(9), seed=None))


def test_missing_seed_says_which_there_are(folder: SheetFolder) -> None:
    with pytest.raises(SheetError, match="no preview of seed 5 in this sheet: it holds 0, 3, 7"):
        folder.load(5)
    assert missing_seeds(folder, [0, 7]) is None
    assert "seed 5, 6" in str(missing_seeds(folder, [0, 5, 6]))


@pytest.mark.parametrize("seeds", [(0, 1, 2, 7), (4,), (1, 2), (), (0, 1, 2, 3)])
def test_ranges(seeds: tuple[int, ...]) -> None:
    assert ranges(seeds) == {(0, 1, 2, 7): "0-2, 7", (4,): "4", (1, 2): "1, 2", (): "", (0, 1, 2, 3): "0-3"}[seeds]


def _edited(change: Callable[[dict[str, Any]], object]) -> Callable[[str], str]:
    def edit(text: str) -> str:
        data = json.loads(text)
        change(data)
        return json.dumps(data)

    return edit


def _deep(levels: int) -> list[Any]:
    return [_deep(levels - 1)] if levels else []


MALFORMED = {
    "not JSON": (lambda t: t[:-20], "not readable as JSON"),
    "deep": (lambda t: "[" * 100_000, "not readable as JSON"),
    "a number": (lambda t: "3", "no commutant sheet"),
    "other format": (_edited(lambda d: d.update(format="x")), "no commutant sheet"),
    "newer": (_edited(lambda d: d.update(version=3)), "version 3"),
    "field missing": (_edited(lambda d: d.pop("call")), "call"),
    "field unknown": (_edited(lambda d: d.update(run="rm")), "run"),
    "infinite cost": (lambda t: t.replace('"seconds": 0.7', '"seconds": Infinity', 1), "not readable as JSON"),
    "negative cost": (_edited(lambda d: d["previews"][0]["cost"].update(high=-1)), "high"),
    "huge cost": (_edited(lambda d: d["previews"][0]["cost"].update(high=10**400)), "high must be at most"),
    "huge time": (_edited(lambda d: d["previews"][0]["cost"].update(seconds=10**400)), "time in seconds"),
    "huge size": (_edited(lambda d: d["call"].update(height=10**9)), "height must be at most 99999"),
    "huge steps": (_edited(lambda d: d["call"].update(num_inference_steps=10**9)), "at most 10000"),
    "huge stage": (
        _edited(lambda d: d["plan"]["stages"][0].update(steps=10**12)),
        "steps of a stage must lie in 1..10000",
    ),
    "huge head": (_edited(lambda d: d["plan"].update(head=10**12)), "head must lie in 0..10000"),
    "many previews": (_edited(lambda d: d.update(previews=[1] * 10_001)), "at most 10000 previews"),
    "half a character": (lambda t: t.replace("a fox", "\\ud800"), "not readable as JSON"),
    "endless number": (lambda t: t.replace('"seconds": 0.7', '"seconds": 1e999', 1), "too large"),
    "self": (_edited(lambda d: d["call"].update(self=1)), "no argument 'self'"),
    "callback": (_edited(lambda d: d["call"].update(callback_on_step_end="x")), "no argument 'callback"),
    "address": (_edited(lambda d: d["call"].update(ip_adapter_image="http://x/y.png")), "only a name may stand"),
    "nested address": (_edited(lambda d: d["call"].update(image=[["/etc/passwd"]])), "only a name may stand"),
    "deep argument": (_edited(lambda d: d["call"].update(sigmas=_deep(30))), "nested more than 20"),
    "boolean cost": (_edited(lambda d: d["previews"][0]["cost"].update(high=True)), "high"),
    "no prompt": (_edited(lambda d: d["call"].pop("prompt")), "prompt"),
    "no size": (_edited(lambda d: d["call"].update(height="64")), "height"),
    "odd plan": (_edited(lambda d: d["plan"].update(head=-1)), "head"),
    "odd guidance": (_edited(lambda d: d["plan"]["stages"][0].update(guidance={"kind": 3})), "guidance"),
    "odd model": (_edited(lambda d: d["model"].update(source="shell")), "source"),
    "no fingerprint": (_edited(lambda d: d["model"].update(fingerprint="")), "fingerprint"),
    "odd digest": (_edited(lambda d: d["previews"][0].update(tape_sha256="zz")), "tape_sha256"),
    "seed twice": (_edited(lambda d: d["previews"].append(d["previews"][0])), "twice"),
    "seed of text": (_edited(lambda d: d["previews"][0].update(seed="0")), "seed"),
    "seed too large": (_edited(lambda d: d["previews"][0].update(seed=2**80)), "seed must be at most"),
    "tape elsewhere": (_edited(lambda d: d["previews"][0].update(tape="../tape-0.safetensors")), "must be 'tape-0"),
    "absolute tape": (_edited(lambda d: d["previews"][0].update(tape="/etc/passwd")), "must be 'tape-0"),
    "image elsewhere": (_edited(lambda d: d["previews"][0].update(image="..\\preview-0.png")), "must be 'preview-0"),
    "tape of another seed": (_edited(lambda d: d["previews"][0].update(tape="tape-3.safetensors")), "must be 'tape-0"),
    "previews no list": (_edited(lambda d: d.update(previews={})), "previews"),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_sheet(folder: SheetFolder, name: str) -> None:
    edit, expected = MALFORMED[name]
    path = folder.path / "sheet.json"
    path.write_text(edit(path.read_text()))
    with pytest.raises(SheetError, match=expected):
        SheetFolder.open(folder.path)


def test_final_elsewhere_is_refused(folder: SheetFolder) -> None:
    folder.add_final(3, picture(3), Cost(5, 0, 6))
    path = folder.path / "sheet.json"
    path.write_text(path.read_text().replace('"final-3.png"', '"../final-3.png"'))
    with pytest.raises(SheetError, match=r"must be 'final-3.png'"):
        SheetFolder.open(folder.path)


def test_sheet_that_is_no_text(folder: SheetFolder) -> None:
    (folder.path / "sheet.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SheetError, match="JSON"):
        SheetFolder.open(folder.path)


def test_no_sheet(tmp_path: Path) -> None:
    with pytest.raises(SheetError, match="no such folder"):
        SheetFolder.open(tmp_path / "nowhere")
    with pytest.raises(SheetError, match="holds no sheet"):
        SheetFolder.open(tmp_path)


CHANGES = {
    "prompt": {"call": {**CALL, "prompt": "a dog"}},
    "height": {"call": {**CALL, "height": 128}},
    "true cfg scale": {"call": {**CALL, "true_cfg_scale": 3.0}},
    "model": {"model": dataclasses.replace(MODEL, source="pretrained", name="a/b")},
    "dtype": {"model": dataclasses.replace(MODEL, dtype="bfloat16")},
    "model weights": {"model": dataclasses.replace(MODEL, fingerprint="other")},
    "plan head": {"plan": PLAN.replaced(head=3)},
    "plan operator": {"plan": PLAN.with_last(operator="mean")},
    "plan stages": {"plan": Plan.live(3)},
    "head batch": {"head_batch": 4},
}


@pytest.mark.parametrize("what", CHANGES)
def test_another_request_is_refused_unless_overwritten(folder: SheetFolder, what: str) -> None:
    other = record(**CHANGES[what])
    with pytest.raises(SheetError, match=rf"another .*{what}.*--out, or --overwrite"):
        SheetFolder.create(folder.path, other)
    (folder.path / "notes.txt").write_text("mine")
    folder.add_final(3, picture(3), Cost(5, 0, 6))
    fresh = SheetFolder.create(folder.path, other, overwrite=True)
    assert fresh.seeds == ()
    assert sorted(p.name for p in folder.path.iterdir()) == ["notes.txt", "sheet.json"]


def test_same_request_is_extended(folder: SheetFolder) -> None:
    again = SheetFolder.create(folder.path, record(model=dataclasses.replace(MODEL)))
    assert again.seeds == (0, 3, 7)


@pytest.mark.parametrize("overwrite", [False, True])
def test_foreign_folder_is_never_written_to(tmp_path: Path, overwrite: bool) -> None:
    (tmp_path / "index.html").write_text("my site")
    with pytest.raises(SheetError, match="not empty and holds no sheet"):
        SheetFolder.create(tmp_path, record(), overwrite)
    with pytest.raises(SheetError, match="is a file"):
        SheetFolder.create(tmp_path / "index.html", record(), overwrite)
    assert (tmp_path / "index.html").read_text() == "my site"


def test_crash_between_files_and_sheet_json(folder: SheetFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(*_: object) -> None:
        raise RuntimeError("power cut")

    with monkeypatch.context() as patch:
        patch.setattr(SheetFolder, "_write", crash)
        with pytest.raises(RuntimeError):
            folder.add(preview(9))
    there = SheetFolder.open(folder.path)
    assert there.ready() == (0, 3, 7)
    there.add(preview(9))
    assert SheetFolder.open(folder.path).ready() == (0, 3, 7, 9)
