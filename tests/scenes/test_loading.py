"""The shipped folder, and what `save_pretrained` makes of it, load like any pipeline.

In an interpreter that has imported nothing of the model yet: diffusers imports no module that a folder names.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")
pytest.importorskip("transformers")

import commutant  # noqa: E402
from commutant.errors import Refusal  # noqa: E402
from commutant.integrations.cli.models import Choice, defaults_of, load  # noqa: E402
from commutant.integrations.scenes import WEIGHTS, is_scenes  # noqa: E402

_BY_DIFFUSERS = """
import sys, commutant
from diffusers import DiffusionPipeline, FluxPipeline
pipe = DiffusionPipeline.from_pretrained(sys.argv[1], use_safetensors=True)
"""
_BY_COMMAND = """
import sys
from diffusers import FluxPipeline
from commutant.integrations.cli.models import Choice, load
pipe = load(Choice(sys.argv[1], device="cpu").record(), quiet=True)
"""
_CHECK = """
from commutant import ScenesAutoencoder, load_scenes
assert type(pipe) is FluxPipeline and type(pipe.vae) is ScenesAutoencoder, pipe
want = load_scenes()
for name in ("transformer", "vae", "text_encoder", "text_encoder_2"):
    a, b = getattr(want, name).state_dict(), getattr(pipe, name).state_dict()
    assert a.keys() == b.keys() and all((a[k].float() == b[k].float()).all() for k in a), name
text = "a picture of a cat, an apple and a Fox on a lavender background"
assert want.tokenizer(text).input_ids == pipe.tokenizer(text).input_ids
assert want.tokenizer_2(text).input_ids == pipe.tokenizer_2(text).input_ids
assert want.scheduler.config == pipe.scheduler.config
"""


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved")
    commutant.load_scenes().save_pretrained(folder, safe_serialization=True)
    return folder


@pytest.fixture(scope="module")
def of_today(saved: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that names the module of the class, as those of version 0.1.0 do."""
    folder = tmp_path_factory.mktemp("before")
    for part in saved.iterdir():
        (folder / part.name).symlink_to(part)
    index = json.loads((saved / "model_index.json").read_text())
    index["vae"][0] = "commutant.integrations.scenes.autoencoder"
    (folder / "model_index.json").unlink()
    (folder / "model_index.json").write_text(json.dumps(index))
    return folder


def done(program: str, folder: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([sys.executable, "-c", program + _CHECK, str(folder)], capture_output=True, text=True)


def test_a_saved_pipeline_names_the_package(saved: Path) -> None:
    for folder in (saved, WEIGHTS):
        assert json.loads((folder / "model_index.json").read_text())["vae"] == ["commutant", "ScenesAutoencoder"]


@pytest.mark.parametrize("which", ["shipped", "saved"])
def test_diffusers_loads_it(which: str, saved: Path) -> None:
    result = done(_BY_DIFFUSERS, {"shipped": WEIGHTS, "saved": saved}[which])
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("which", ["shipped", "saved", "of today"])
def test_the_commands_load_it(which: str, saved: Path, of_today: Path) -> None:
    result = done(_BY_COMMAND, {"shipped": WEIGHTS, "saved": saved, "of today": of_today}[which])
    assert result.returncode == 0, result.stderr


def test_its_calls_have_the_defaults_of_the_model(saved: Path, tmp_path: Path) -> None:
    assert is_scenes(saved)
    assert defaults_of(Choice(str(saved), device="cpu").record()) == commutant.SCENES_CALL_DEFAULTS
    assert defaults_of(Choice(str(tmp_path), device="cpu").record()) == {}
    (tmp_path / "model_index.json").write_text("[]")
    assert not is_scenes(tmp_path)


def test_a_class_of_an_unknown_module_is_refused(of_today: Path, tmp_path: Path) -> None:
    index = json.loads((of_today / "model_index.json").read_text())
    for part in of_today.iterdir():
        if part.name != "model_index.json":
            (tmp_path / part.name).symlink_to(part)
    (tmp_path / "model_index.json").write_text(json.dumps(index | {"vae": ["somebody.elses", "Autoencoder"]}))
    with pytest.raises(Refusal, match=r"somebody\.elses.*code that comes with a model is never run"):
        load(Choice(str(tmp_path), device="cpu").record(), quiet=True)
