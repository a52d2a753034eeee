"""The whole path with a real (tiny, random) pipeline in a folder: preview, finish, and the plain call beside it."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

from commutant.commutator import PRESETS
from commutant.integrations import cli
from commutant.integrations.sheets.folder import SheetFolder, png

from ..diffusers.tiny import tiny_flux

PROMPT = "a fox and a balloon"
REQUEST = ["--size", "96x64", "--steps", "6", "--seeds", "0,3,4", "--batch", "2"]
Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model") / "tiny flux"
    tiny_flux().save_pretrained(folder)
    return folder


def plain(model: Path, seed: int, dtype: torch.dtype = torch.float32) -> bytes:
    """The PNG of the ordinary pipeline call, without anything of ours."""
    from diffusers import FluxPipeline

    pipe = FluxPipeline.from_pretrained(model, torch_dtype=dtype)
    pipe.set_progress_bar_config(disable=True)
    generator = torch.Generator().manual_seed(seed)
    image = pipe(PROMPT, height=64, width=96, num_inference_steps=6, generator=generator).images[0]
    return png(image)


def test_preview_then_finish(model: Path, tmp_path: Path, capsys: Capture) -> None:
    out = str(tmp_path / "sheet")
    assert cli.main(["preview", PROMPT, "--model", str(model), "--out", out, *REQUEST]) == 0
    said = capsys.readouterr().out
    assert "3 previews" in said
    folder = SheetFolder.open(out)
    assert folder.ready() == (0, 3, 4)
    assert folder.image("preview-3.png").size == (48, 32)

    assert cli.main(["finish", out, "--pick", "3"]) == 0
    assert (tmp_path / "sheet" / "final-3.png").read_bytes() == plain(model, 3)
    assert cli.main(["finish", out, "--all"]) == 0
    assert "final-3.png  (finished already)" in capsys.readouterr().out
    assert SheetFolder.open(out).finished(4)

    assert cli.main(["preview", PROMPT, "--model", str(model), "--out", out, *REQUEST, "--seeds", "3-5"]) == 0
    assert "2 of these 3 seeds are on the sheet already" in capsys.readouterr().out
    assert SheetFolder.open(out).seeds == (0, 3, 4, 5)


def test_half_precision(model: Path, tmp_path: Path) -> None:
    out = tmp_path / "sheet"
    line = ["preview", PROMPT, "--model", str(model), "--out", str(out), *REQUEST]
    assert cli.main([*line, "--seeds", "3", "--dtype", "bfloat16"]) == 0
    assert cli.main(["finish", str(out), "--pick", "3"]) == 0
    assert (out / "final-3.png").read_bytes() == plain(model, 3, torch.bfloat16)


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset(model: Path, tmp_path: Path, preset: str) -> None:
    line = ["preview", PROMPT, "--model", str(model), "--out", str(tmp_path / "sheet"), *REQUEST]
    assert cli.main([*line, "--preset", preset, "--seeds", "3", "--size", "64x64"]) == 0
    assert SheetFolder.open(tmp_path / "sheet").ready() == (3,)


def test_previews_do_not_depend_on_their_company(model: Path, tmp_path: Path) -> None:
    """Heads run one by one, so a seed has the same tape whichever other seeds are asked for."""
    for out, seeds in (("together", "0,3,4"), ("alone", "3")):
        line = ["preview", PROMPT, "--model", str(model), "--out", str(tmp_path / out), *REQUEST, "--seeds", seeds]
        assert cli.main([*line, "--quiet"]) == 0
    together, alone = (SheetFolder.open(tmp_path / out).load(3).tape for out in ("together", "alone"))
    assert together.header == alone.header
    assert torch.equal(together.state, alone.state)
    assert all(torch.equal(a, b) for a, b in zip(together.outputs, alone.outputs))


def test_refusals_with_a_real_model(model: Path, tmp_path: Path, capsys: Capture) -> None:
    out = tmp_path / "sheet"
    line = ["preview", PROMPT, "--model", str(model), "--out", str(out), *REQUEST]
    for extra, reason in (
        (["--size", "100x64"], "nearest"),
        (["--set", "mask=1"], "FluxPipeline takes no 'mask'"),
    ):
        assert cli.main([*line, *extra]) == 2
        said = capsys.readouterr().err
        assert reason in said
        assert said.count("\n") == 1
        assert not out.exists(), "a refused request leaves nothing behind"

    assert cli.main([*line, "--seeds", "0"]) == 0
    assert cli.main([*line, "--steps", "8"]) == 2
    assert "another num inference steps" in capsys.readouterr().err

    tiny_flux(seed=1).save_pretrained(tmp_path / "other")
    assert cli.main(["finish", str(out), "--pick", "0", "--model", str(tmp_path / "other")]) == 2
    assert "is not the model of this sheet" in capsys.readouterr().err


def test_model_that_moved(model: Path, tmp_path: Path, capsys: Capture) -> None:
    out, before, after = tmp_path / "sheet", tmp_path / "before", tmp_path / "after"
    tiny_flux().save_pretrained(before)
    assert cli.main(["preview", PROMPT, "--model", str(before), "--out", str(out), *REQUEST, "--seeds", "3"]) == 0
    before.rename(after)
    assert cli.main(["finish", str(out), "--pick", "3"]) == 2
    assert "--model says where" in capsys.readouterr().err
    assert cli.main(["finish", str(out), "--pick", "3", "--model", str(after)]) == 0
    assert (out / "final-3.png").read_bytes() == plain(after, 3)


def command(*line: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    paths = [str(Path(p).absolute()) for p in os.environ.get("PYTHONPATH", "").split(os.pathsep) if p]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    whole = [sys.executable, "-m", "commutant", *line]
    return subprocess.run(whole, capture_output=True, text=True, cwd=cwd, env=environment)


@pytest.mark.slow
def test_two_processes(model: Path, tmp_path: Path) -> None:
    """As a user does it: preview today, finish tomorrow, from another folder."""
    done = command("preview", PROMPT, "--model", str(model), *REQUEST, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    (tmp_path / "elsewhere").mkdir()
    done = command("finish", "../sheet", "--pick", "3", "4", cwd=tmp_path / "elsewhere")
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    for seed in (3, 4):
        assert (tmp_path / "sheet" / f"final-{seed}.png").read_bytes() == plain(model, seed)


def embedded_is_here() -> bool:
    weights = Path(cli.__file__).parent / "scenes" / "weights"
    return weights.is_dir() and any(weights.iterdir())


@pytest.mark.slow
@pytest.mark.skipif(not embedded_is_here(), reason="the embedded model's weights are not in this checkout")
def test_embedded_model_in_two_processes(tmp_path: Path) -> None:
    from commutant.integrations.scenes import SCENES_CALL_DEFAULTS, load_scenes

    done = command("preview", "a fox and a balloon on a night background", "--seeds", "1", "--steps", "6", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    done = command("finish", "sheet", "--pick", "1", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    info = json.loads(command("info", "sheet", "--json", cwd=tmp_path).stdout)

    pipe = load_scenes(dtype=torch.float32, device="cpu")
    pipe.set_progress_bar_config(disable=True)
    expected = {**SCENES_CALL_DEFAULTS, "num_inference_steps": 6}
    assert {k: info["call"][k] for k in expected} == expected
    image = pipe(**info["call"], generator=torch.Generator().manual_seed(1)).images[0]
    final = (tmp_path / "sheet" / "final-1.png").read_bytes()
    assert final == png(image)
    assert Image.open(io.BytesIO(final)).size == (info["call"]["width"], info["call"]["height"])
