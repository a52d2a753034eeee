"""The commands: what they leave on disk, what they say, and the exit codes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from commutant.commutator import PRESETS, TapeError
from commutant.errors import Refusal
from commutant.integrations import cli
from commutant.integrations.cli import finish, info, models, preview
from commutant.integrations.sheets.folder import SheetFolder

from .fakes import FakePreviewer, record
from .fakes import preview as made

Capture = pytest.CaptureFixture[str]


def test_preview_fills_a_folder(tmp_path: Path, capsys: Capture) -> None:
    out = str(tmp_path / "my sheet")
    assert preview.fill(FakePreviewer(), record(), [0, 1, 2], out) == 0
    names = sorted(p.name for p in Path(out).iterdir())
    seeds = [f"preview-{s}.png" for s in range(3)] + ["sheet.json"] + [f"tape-{s}.safetensors" for s in range(3)]
    assert names == ["contact_sheet.png", "index.html", *seeds]
    said = capsys.readouterr().out
    assert "3 previews in 2.1 s: 3 high- and 6 low-resolution evaluations, worth 4.5 high ones: 25 % of" in said
    assert f"commutant finish '{out}' --pick 0 1" in said


def test_preview_extends_and_heals(tmp_path: Path, capsys: Capture) -> None:
    out = str(tmp_path / "sheet")
    preview.fill(FakePreviewer(), record(), [0, 1], out)
    (tmp_path / "sheet" / "tape-1.safetensors").write_bytes(b"")
    previewer = FakePreviewer()
    assert preview.fill(previewer, record(), [0, 1, 2], out) == 0
    assert previewer.asked == [1, 2], "only what was missing or damaged is made again"
    assert "1 of these 3 seeds are on the sheet already" in capsys.readouterr().out
    assert SheetFolder.open(out).ready() == (0, 1, 2)
    assert preview.fill(previewer, record(), [0, 2], out) == 0
    assert "has them all" in capsys.readouterr().out


def test_ctrl_c_leaves_a_usable_sheet(tmp_path: Path, capsys: Capture) -> None:
    out = str(tmp_path / "sheet")
    assert preview.fill(FakePreviewer(stop_at=2), record(), [0, 1, 2, 3], out) == 130
    assert "stopped after 2 of 4 previews" in capsys.readouterr().err
    assert SheetFolder.open(out).ready() == (0, 1)
    assert (tmp_path / "sheet" / "index.html").read_text().count('class="preview"') == 2
    assert finish.complete(SheetFolder.open(out), FakePreviewer(), [1], shown_path=out) == 0
    assert preview.fill(FakePreviewer(), record(), [0, 1, 2, 3], out) == 0
    assert SheetFolder.open(out).seeds == (0, 1, 2, 3)


def test_nothing_is_written_before_the_first_preview(tmp_path: Path, capsys: Capture) -> None:
    out = tmp_path / "sheet"
    assert preview.fill(FakePreviewer(stop_at=0), record(), [0], str(out)) == 130
    assert not out.exists()
    with pytest.raises(ValueError, match="unsupported"):
        preview.fill(FakePreviewer(stop_at=0, error=ValueError("unsupported")), record(), [0], str(out))
    assert not out.exists()
    preview.fill(FakePreviewer(), record(), [5], str(out))
    other = record(call={**record().call, "prompt": "a dog"})
    assert preview.fill(FakePreviewer(stop_at=0), other, [0], str(out), overwrite=True) == 130
    assert SheetFolder.open(out).seeds == (5,), "an overwrite that makes nothing destroys nothing"


def test_a_failure_keeps_what_was_ready(tmp_path: Path) -> None:
    out = tmp_path / "sheet"
    with pytest.raises(RuntimeError):
        preview.fill(FakePreviewer(stop_at=1, error=RuntimeError("card fell out")), record(), [0, 1], str(out))
    assert SheetFolder.open(out).ready() == (0,)
    assert (out / "index.html").exists()


def test_finish_writes_finals_one_by_one(tmp_path: Path, capsys: Capture) -> None:
    out = str(tmp_path / "sheet")
    preview.fill(FakePreviewer(), record(), [0, 1, 2], out, quiet=True)
    folder = SheetFolder.open(out)
    assert finish.complete(folder, FakePreviewer(stop_at=2), [0, 2], shown_path=out) == 130
    said = capsys.readouterr()
    assert "final-0.png  (5 evaluations, 1 from the tape, 1.5 s)" in said.out
    assert "stopped after 1 of 2 finals" in said.err
    assert SheetFolder.open(out).finished(0)
    assert 'class="final"' in (tmp_path / "sheet" / "index.html").read_text()


@pytest.fixture
def sheet(tmp_path: Path) -> Path:
    folder = SheetFolder.create(tmp_path / "sheet", record())
    for seed in (0, 1, 2, 7):
        folder.add(made(seed))
    return folder.path


def test_info(sheet: Path, capsys: Capture) -> None:
    assert cli.main(["info", str(sheet)]) == 0
    text = capsys.readouterr().out
    assert "a fox and a balloon" in text
    assert "0-2, 7" in text
    (sheet / "tape-1.safetensors").unlink()
    assert cli.main(["info", str(sheet)]) == 0
    assert "damaged   tape-1.safetensors is missing" in capsys.readouterr().out


def test_info_as_json(sheet: Path, capsys: Capture) -> None:
    assert cli.main(["info", str(sheet), "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert [p["seed"] for p in data["previews"]] == [0, 1, 2, 7]
    assert data["totals"]["high"] == 4
    assert data["totals"]["high_resolution_equivalents"] == pytest.approx(6.0)
    assert data["faults"] == {}


def test_info_prints_no_control_characters(tmp_path: Path, capsys: Capture) -> None:
    hostile = record(call={**record().call, "prompt": "a\x1b[2Jfox\nmodel forged"})
    SheetFolder.create(tmp_path / "sheet", hostile)
    assert cli.main(["info", str(tmp_path / "sheet")]) == 0
    text = capsys.readouterr().out
    assert "\x1b" not in text
    assert "\nmodel forged" not in text


MISUSE = [
    ["preview"],
    ["preview", "a fox", "--seeds", "7-0"],
    ["preview", "a fox", "--size", "12x"],
    ["preview", "a fox", "--scale", "1"],
    ["preview", "a fox", "--preset", "nonsense"],
    ["preview", "a fox", "--switch", "30"],
    ["preview", "a fox", "--preset", "paper", "--scale", "4/3"],
    ["preview", "a fox", "--device", "toaster"],
    ["preview", "a fox", "--model", "./nowhere"],
    ["finish", "nowhere", "--all"],
    ["finish", "nowhere"],
    ["finish", "nowhere", "--all", "--pick", "3"],
    ["info", "nowhere"],
    ["draw"],
    [],
]


@pytest.mark.parametrize("line", MISUSE, ids=" ".join)
def test_misuse_is_one_line_and_exit_code_2(line: list[str], capsys: Capture) -> None:
    try:
        code = cli.main(line)
    except SystemExit as error:
        code = error.code  # type: ignore[assignment]
    said = capsys.readouterr()
    assert code == 2
    assert said.err.startswith("commutant: ")
    assert said.err.count("\n") == 1
    assert said.out == ""


def test_finish_refuses_before_loading_anything(sheet: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object) -> None:
        raise AssertionError("a model was loaded")

    monkeypatch.setattr(models, "load", never)
    assert cli.main(["finish", str(sheet), "--pick", "5"]) == 2
    assert "no preview of seed 5" in capsys.readouterr().err
    assert cli.main(["finish", str(sheet), "--pick", "1", "--dtype", "bfloat16"]) == 2
    assert "made with dtype float32" in capsys.readouterr().err
    (sheet / "tape-1.safetensors").write_bytes(b"x")
    assert cli.main(["finish", str(sheet), "--pick", "0", "1"]) == 2
    assert "changed or cut short" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (Refusal("no"), 2, "commutant: no\n"),
        (TapeError("bad tape"), 2, "commutant: bad tape\n"),
        (RuntimeError("two\nlines"), 1, "commutant: RuntimeError: two lines (COMMUTANT_DEBUG=1 shows where)\n"),
        (OSError(28, "No space left on device"), 1, "commutant: [Errno 28] No space left on device\n"),
        (models.MissingInstall("pip install x"), 1, "commutant: pip install x\n"),
        (KeyboardInterrupt(), 130, "commutant: stopped\n"),
    ],
)
def test_exit_codes(
    error: BaseException, code: int, text: str, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    def fail(_: object) -> int:
        raise error

    monkeypatch.setattr(info, "run", fail)
    monkeypatch.delenv("COMMUTANT_DEBUG", raising=False)
    assert cli.main(["info", "x"]) == code
    assert capsys.readouterr().err == text
    if isinstance(error, Exception):
        monkeypatch.setenv("COMMUTANT_DEBUG", "1")
        with pytest.raises(type(error)):
            cli.main(["info", "x"])


def test_unsupported_is_a_refusal(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    from commutant.adapters.diffusers import UnsupportedError

    def fail(_: object) -> int:
        raise UnsupportedError("StrangePipeline is not supported")

    monkeypatch.setattr(info, "run", fail)
    assert cli.main(["info", "x"]) == 2


def test_missing_diffusers_says_what_to_install(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    monkeypatch.setitem(sys.modules, "diffusers", None)  # makes `import diffusers` fail
    assert cli.main(["preview", "a fox", "--model", "a/b"]) == 1
    said = capsys.readouterr().err
    assert "pip install 'commutant[diffusers]'" in said
    assert "pip install -e '.[diffusers]'" in said
    assert said.count("\n") == 1


def test_help_lists_the_presets_and_says_which_way_round_a_size_is(capsys: Capture) -> None:
    with pytest.raises(SystemExit):
        cli.main(["preview", "--help"])
    text = capsys.readouterr().out
    assert all(name in text for name in PRESETS)
    assert "width x height" in text


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from commutant.integrations import cli; cli.parser().format_help();"
        "print([m for m in ('torch', 'diffusers', 'numpy', 'scipy', 'PIL') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
