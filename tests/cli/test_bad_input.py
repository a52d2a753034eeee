"""Input that no run has: refused with exit code 2 and one line that names the limit, before anything is computed."""

from __future__ import annotations

import dataclasses
import io
import json
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch

from commutant.adapters.diffusers.finish import check_tape
from commutant.adapters.diffusers.request import restored_all
from commutant.commutator import TapeError
from commutant.integrations import cli
from commutant.integrations.cli import info, models
from commutant.integrations.sheets.folder import SheetFolder
from commutant.integrations.sheets.views import write_views
from commutant.integrations.sheets.wording import finish_command

from .fakes import CALL, preview, record

Capture = pytest.CaptureFixture[str]

LINES = {
    "tail": (["--tail", "999999999"], "the largest number here is 10000"),
    "steps": (["--steps", "999999999"], "the largest number here is 10000"),
    "batch": (["--batch", "999999999"], "the largest number here is 10000"),
    "deep": (["--set", "a=" + "[" * 100_000], "nested at most 20 deep"),
    "deep and whole": (["--set", "a=" + "[" * 30 + "]" * 30], "nested at most 20 deep"),
    "self": (["--set", "self=1"], "self cannot be set here"),
    "endless": (["--set", "a=1e309"], "a number is too large"),
    "half a character": (["--set", 'a="\\ud800"'], "no UTF-8 text"),
    "bytes": (["--negative", "caf\udce9"], "no UTF-8 text"),
    "bytes of a folder": (["--out", "caf\udce9"], "no UTF-8 text"),
    "an address": (["--set", "ip_adapter_image=http://x/y.png"], "only a name may stand"),
}


@pytest.mark.parametrize("name", LINES)
def test_command_line(name: str, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("a model was loaded")

    monkeypatch.setattr(models, "load", never)
    line, said = LINES[name]
    try:
        code = cli.main(["preview", "a fox", *line])
    except SystemExit as error:
        code = error.code  # type: ignore[assignment]
    error_text = capsys.readouterr().err
    assert code == 2
    assert said in error_text
    assert error_text.count("\n") == 1


@pytest.fixture
def sheet(tmp_path: Path) -> SheetFolder:
    folder = SheetFolder.create(tmp_path / "sheet", record())
    folder.add(preview(0))
    return folder


def _png(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")

    pixels = zlib.compress(bytes((width + 1) * height), 1)
    head = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes([8, 0, 0, 0, 0])
    pixels = zlib.compress(bytes((width + 1) * height), 1)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def test_a_picture_that_claims_to_be_huge_is_not_decoded(sheet: SheetFolder) -> None:
    data = json.loads((sheet.path / "sheet.json").read_text())
    data["previews"][0]["image_sha256"] = None
    (sheet.path / "sheet.json").write_text(json.dumps(data))
    (sheet.path / "preview-0.png").write_bytes(_png(9_000, 8_000))  # whole, and below the limit that Pillow has
    there = SheetFolder.open(sheet.path)
    assert there.image("preview-0.png") is None
    write_views(there, "sheet")


def _npy(header: str) -> bytes:
    text = header.encode().ljust(118) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + bytes(64)


def _saved(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


FLOWS = {
    "huge": _npy("{'descr': '<f4', 'fortran_order': False, 'shape': (1099511627776, 64, 2), }"),
    "boolean": _npy("{'descr': '<f4', 'fortran_order': False, 'shape': (True, True, 2), }"),
    "negative": _npy("{'descr': '<f4', 'fortran_order': False, 'shape': (-1, 64, 2), }"),
    "broken header": _npy("{'descr': '<f4', 'fortran_order': (((((, "),
    "objects": _npy("{'descr': '|O', 'fortran_order': False, 'shape': (64, 96, 2), }"),
    "broken archive": b"PK\x03\x04" + bytes(100),
    "nothing": b"",
    "more than the image": _saved(np.zeros((640, 96, 2), np.float64)),
}


@pytest.mark.parametrize("name", FLOWS)
def test_flow_files(sheet: SheetFolder, tmp_path: Path, name: str, capsys: Capture) -> None:
    (tmp_path / "flow.npy").write_bytes(FLOWS[name])
    assert cli.main(["transform", str(sheet.path), "--all", "--warp", str(tmp_path / "flow.npy")]) == 2
    assert "flow" in capsys.readouterr().err


def test_info_as_json_escapes_control_characters(tmp_path: Path, capsys: Capture) -> None:
    prompt = "a\x1b[2J\x7f\x9b\u202efox \U000e0001 мост"
    SheetFolder.create(tmp_path / "sheet", record(call={**CALL, "prompt": prompt}))
    assert cli.main(["info", str(tmp_path / "sheet"), "--json"]) == 0
    text = capsys.readouterr().out
    assert all(c.isprintable() or c == "\n" for c in text)
    assert json.loads(text)["call"]["prompt"] == prompt
    assert "мост" in text


def test_a_folder_that_looks_like_an_option_is_quoted() -> None:
    assert finish_command("-x", [3]) == "commutant finish ./-x --pick 3"
    assert finish_command("my sheet", [3]) == "commutant finish 'my sheet' --pick 3"


@pytest.mark.parametrize("state", [torch.zeros(0), torch.zeros(16), torch.zeros(5056), torch.zeros(2, 3)])
def test_a_generator_state_that_is_none(state: torch.Tensor) -> None:
    with pytest.raises(TapeError, match="does not fit a cpu generator"):
        restored_all([state.to(torch.uint8)], "cpu")


@pytest.mark.parametrize("device", [d for d in ("cuda", "xpu") if not getattr(torch, d).is_available()])
def test_a_generator_of_a_device_that_is_not_here(device: str) -> None:
    with pytest.raises(TapeError, match=f"does not fit a {device} generator"):
        restored_all([torch.zeros(16, dtype=torch.uint8)], device)


HEADER = {
    "model": "f1a9",
    "prompt": "x",
    "size": [64, 96],
    "steps": 6,
    "evaluations": 6,
    "switch": 1,
    "rng_device": "cpu",
}


@pytest.mark.parametrize(
    "change", [{"steps": 0}, {"evaluations": 0}, {"switch": -1}, {"steps": 10**9}, {"size": [64.0, 96.0]}], ids=str
)
def test_numbers_of_a_tape_that_no_run_has(change: dict[str, object]) -> None:
    made = preview(0)
    made = dataclasses.replace(made, tape=dataclasses.replace(made.tape, header={**HEADER, **change}))
    with pytest.raises(TapeError, match=r"numbers of steps|valid 'size'"):
        check_tape(made, "f1a9", object())


ALLOCATOR = "[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9"


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError(ALLOCATOR)])
def test_out_of_memory_gets_advice(error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    def fail(_: object) -> int:
        raise error

    monkeypatch.delenv("COMMUTANT_DEBUG", raising=False)
    monkeypatch.setattr(info, "run", fail)
    assert cli.main(["info", "x"]) == 1
    assert "out of memory; try --batch 1" in capsys.readouterr().err
