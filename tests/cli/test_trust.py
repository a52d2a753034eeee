"""A sheet from somebody else: it runs no code of its own, asks no hub, and shows no file from outside its folder."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from commutant.errors import Refusal
from commutant.integrations import cli
from commutant.integrations.cli import models
from commutant.integrations.sheets.folder import SheetFolder
from commutant.integrations.sheets.model_folder import check_model_folder
from commutant.integrations.sheets.record import ModelRecord
from commutant.integrations.sheets.views import write_views

from ..diffusers.tiny import tiny_flux
from .fakes import picture, preview, record

Capture = pytest.CaptureFixture[str]
CODE = "import pathlib; pathlib.Path({!r}).write_text('ran')\nfrom diffusers import FluxPipeline as Own\n"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    tiny_flux().save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def gift(folder: Path, name: str) -> Path:
    """A sheet as a stranger could send it, that names a model."""
    made_with = ModelRecord("pretrained", name, "float32", "cpu", "f1a9")
    sheet = SheetFolder.create(folder, record(model=made_with))
    sheet.add(preview(0))
    return sheet.path


def _index(change: dict[str, Any]) -> Callable[[Path, str], None]:
    def attack(model: Path, code: str) -> None:
        path = model / "model_index.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
        for place in (model / "my_pipe.py", Path("my_pipe.py")):  # beside the index, and where `python -m` looks
            place.write_text(code)

    return attack


def _file(name: str) -> Callable[[Path, str], None]:
    return lambda model, code: (model / name).write_text(code) and None


def _kernel(model: Path, _: str) -> None:
    path = model / "text_encoder" / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "attn_implementation": "somebody/kernel"}))


ATTACKS = {
    "a pipeline of its own": (_index({"_class_name": ["my_pipe", "Own"]}), "names the pipeline"),
    "a function of diffusers": (_index({"_class_name": "is_torch_available"}), "names the pipeline"),
    "a part of its own": (_index({"vae": ["my_pipe", "Own"]}), "says that vae is"),
    "a module on the path": (_index({"vae": ["antigravity", "geohash"]}), "says that vae is"),
    "a module of diffusers": (_index({"vae": ["pipeline_utils", "DiffusionPipeline"]}), "says that vae is"),
    "a pipeline as a part": (_index({"vae": ["diffusers", "FluxPipeline"]}), "says that vae is"),
    "an odd part": (_index({"vae": ["diffusers"]}), "says that vae is"),
    "a part elsewhere": (_index({"../x": ["diffusers", "AutoencoderKL"]}), "names a part"),
    "a pipeline that loads others": (_index({"_class_name": "KandinskyCombinedPipeline"}), "loads further models"),
    "no pipeline file": (_file("None.py"), "None.py is Python code"),
    "a library that shadows": (_file("vae/diffusers.py"), "diffusers.py is Python code"),
    "a kernel": (_kernel, "names code to be fetched"),
    "no index": (lambda m, _: (m / "model_index.json").unlink(), "is no model folder"),
    "a broken index": (lambda m, _: (m / "model_index.json").write_text("[" * 100_000) and None, "not readable"),
}


@pytest.mark.parametrize("name", ATTACKS)
def test_a_model_that_a_sheet_names_runs_no_code(
    model: Path, tmp_path: Path, name: str, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    ran = tmp_path / "ran"
    attack, said = ATTACKS[name]
    attack(model, CODE.format(str(ran)))
    sheet = gift(tmp_path / "gift", str(model))
    for line in (["finish", str(sheet), "--pick", "0"], ["finish", str(sheet), "--pick", "0", "--model", str(model)]):
        assert cli.main(line) == 2
        error = capsys.readouterr().err
        assert said in error
        assert error.count("\n") == 1
    assert not ran.exists()


def test_models_as_they_are_saved_pass(model: Path) -> None:
    check_model_folder(model)
    index = model / "model_index.json"
    data = json.loads(index.read_text())
    data["feature_extractor"] = ["transformers", "CLIPFeatureExtractor"]  # as indices of 2022 have it
    data["safety_checker"] = ["stable_diffusion", "StableDiffusionSafetyChecker"]
    data["vae"] = ["commutant.integrations.scenes.autoencoder", "ScenesAutoencoder"]
    index.write_text(json.dumps(data))
    check_model_folder(model)


def test_where_a_sheet_may_say_its_model_is(
    model: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    sheet = gift(tmp_path / "gift", "./model")
    model.rename(sheet / "model")
    (tmp_path / "owner").mkdir()
    (tmp_path / "owner" / "name").symlink_to(sheet / "model")
    for name, said in (
        ("gift/model", "relative to the working folder"),
        ("owner/name", "relative to the working folder"),
        (str(sheet / "model"), "inside itself"),
        (str(tmp_path / "owner" / "name"), "inside itself"),
        ("//host/share", "another machine"),
        ("\\\\host\\share", "another machine"),
    ):
        text = (sheet / "sheet.json").read_text()
        data = json.loads(text)
        data["model"]["name"] = name
        (sheet / "sheet.json").write_text(json.dumps(data))
        assert cli.main(["finish", str(sheet), "--pick", "0"]) == 2
        error = capsys.readouterr().err
        assert said in error
        assert "--model" in error


def test_a_recorded_model_is_not_fetched(tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every way to the network is watched; only --model opens one."""
    from huggingface_hub import constants
    from huggingface_hub.utils import _http

    asked: list[bool] = []

    def client(*_: object, **__: object) -> Any:
        asked.append(constants.HF_HUB_OFFLINE)
        raise OSError("the network was asked")

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(_http, "get_session", client)
    monkeypatch.setattr("socket.socket.connect", client)
    monkeypatch.setattr("socket.getaddrinfo", client)
    sheet = gift(tmp_path / "gift", "somebody/tracker")
    assert cli.main(["finish", str(sheet), "--pick", "0"]) == 2
    said = capsys.readouterr().err
    assert "a model that a sheet names is loaded from local files only" in said
    assert "--model somebody/tracker" in said
    assert asked == []
    assert constants.HF_HUB_OFFLINE is False
    assert cli.main(["finish", str(sheet), "--pick", "0", "--model", "somebody/tracker"]) in (1, 2)
    assert asked
    assert not any(asked), "what was given on the command line may be fetched"


def test_loading_asks_no_hub(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    seen = []
    from diffusers import DiffusionPipeline

    whole = DiffusionPipeline.from_pretrained.__func__

    def load(cls: type, *arguments: Any, **settings: Any) -> Any:
        seen.append((constants.HF_HUB_OFFLINE, settings["trust_remote_code"], settings["local_files_only"]))
        return whole(cls, *arguments, **settings)

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(DiffusionPipeline, "from_pretrained", classmethod(load))
    models.load(ModelRecord("pretrained", str(model), "float32", "cpu"), quiet=True)
    assert seen == [(True, False, True)]


def test_a_linked_picture_is_not_shown(tmp_path: Path) -> None:
    sheet = SheetFolder.open(gift(tmp_path / "gift", "a/b"))
    secret = tmp_path / "secret.png"
    picture(7, (300, 200)).save(secret)
    for name in ("preview-0.png", "sheet.json", "tape-0.safetensors"):
        there = sheet.path / name
        kept = there.read_bytes()
        there.unlink()
        there.symlink_to(secret)
        if name == "preview-0.png":
            data = json.loads((sheet.path / "sheet.json").read_text())
            data["previews"][0]["image_sha256"] = None
            (sheet.path / "sheet.json").write_text(json.dumps(data))
            linked = SheetFolder.open(sheet.path)
            assert "is a link to another file" in str(linked.fault(0))
            write_views(linked, "gift")
            assert 'class="preview"' not in (sheet.path / "index.html").read_text()
        else:
            with pytest.raises(Refusal, match="is a link to another file"):
                SheetFolder.open(sheet.path).load(0)
        there.unlink()
        there.write_bytes(kept)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
@pytest.mark.parametrize("name", ["sheet.json", "preview-0.png", "tape-0.safetensors"])
def test_a_pipe_is_not_waited_for(tmp_path: Path, name: str) -> None:
    sheet = gift(tmp_path / "gift", "a/b")
    (sheet / name).unlink()
    os.mkfifo(sheet / name)
    if name == "sheet.json":
        with pytest.raises(Refusal, match="no regular file"):
            SheetFolder.open(sheet)
        return
    there = SheetFolder.open(sheet)
    assert "no regular file" in str(there.fault(0))
    write_views(there, "gift")
