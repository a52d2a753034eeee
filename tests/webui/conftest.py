"""The extension, loaded by its own loader into the small program of `fake_program.py`."""

import importlib.util
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

pytest.importorskip("torch")
pytest.importorskip("PIL")

from . import fake_gradio, fake_program

ROOT = Path(__file__).resolve().parents[2]
EXTENSION = "commutant_webui_extension"


def load():
    """`scripts/commutant.py`, as a program loads a script: by its path."""
    spec = importlib.util.spec_from_file_location("commutant.py", ROOT / "scripts" / "commutant.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def loaded(tmp_path_factory):
    """The loader's module; afterwards the program's modules and the extension's are gone again."""
    found = set(sys.modules)
    parts = {**fake_program.modules_for(tmp_path_factory.mktemp("data")), "gradio": fake_gradio}
    kept = {name: sys.modules[name] for name in parts if name in sys.modules}
    sys.modules.update(parts)
    yield load()
    for name in set(sys.modules) - found:
        if name.split(".")[0] in (EXTENSION, "modules", "k_diffusion", "gradio"):
            del sys.modules[name]
    sys.modules.update(kept)


@pytest.fixture
def host(loaded, tmp_path):
    """A freshly started program with the extension in it: `make(...)`, `finish(...)`, and everything inside."""
    fake_program.fresh()
    module = sys.modules[loaded.PreviewScript.__module__]
    module.STORE.clear()
    module.STORE.folder = tmp_path / "tapes"
    module.REQUESTS._by_infotext.clear()
    script = loaded.PreviewScript()
    runner = fake_program.ScriptRunner(script)
    script.controls = script.ui(False)
    sys.modules["modules.scripts"].scripts_txt2img = runner
    runner.inputs = [None, *script.controls]

    def make(*values, before=None, **fields):
        p = fake_program.StableDiffusionProcessingTxt2Img(**{"prompt": "a fox", "seed": 5} | fields)
        p.scripts, p.script_args = runner, (0, *values, *("off", "matched", "2", 0, -1)[len(values) :])
        if before:
            before(p)
        made = fake_program.process_images(p)
        made.p = p
        assert not runner.errors, runner.errors
        return made

    def finish(infotext):
        return module.program.final_of(module.REQUESTS.of(infotext), script.args_from)

    return SimpleNamespace(
        make=make, finish=finish, script=script, runner=runner, module=module, program=fake_program.PROGRAM
    )
