"""How a program finds the extension, and what its installer does."""

import importlib.util
import os
import subprocess
import sys

from .conftest import EXTENSION, ROOT, load


def test_the_checkout_is_one_package_under_a_name_of_its_own(loaded):
    assert EXTENSION in sys.modules
    script = loaded.PreviewScript
    assert script.__module__ == f"{EXTENSION}.integrations.webui.script"
    for top in ("operators", "adapters", "commutator", "integrations"):
        assert getattr(sys.modules.get(top), "__file__", None) is None or str(ROOT) not in sys.modules[top].__file__


def test_loading_again_as_a_page_reload_does_keeps_the_tapes(loaded):
    module = sys.modules[loaded.PreviewScript.__module__]
    assert load().PreviewScript is loaded.PreviewScript
    assert sys.modules[loaded.PreviewScript.__module__] is module


def test_the_scripts_a_program_would_collect(loaded):
    kind = sys.modules["modules.scripts"].Script
    found = [v for v in vars(loaded).values() if isinstance(v, type) and issubclass(v, kind)]
    assert [script.__name__ for script in found] == ["PreviewScript"]


def test_it_is_always_visible_in_txt2img_and_nowhere_else(host):
    assert host.script.show(False) is sys.modules["modules.scripts"].AlwaysVisible
    assert host.script.show(True) is False


def installer():
    spec = importlib.util.spec_from_file_location("commutant_installer", ROOT / "install.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_installer_adds_only_what_is_missing_and_light(monkeypatch):
    run, module = [], installer()
    monkeypatch.setattr(subprocess, "run", lambda command, check: run.append(command))
    module.main()
    assert run == []
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    module.main()
    (command,) = run
    assert "--no-deps" in command
    assert "--upgrade" not in command
    assert not any("torch" in word for word in command)
    assert any(word.startswith("array-api-compat") for word in command)


def test_the_installer_needs_no_program_around_it(tmp_path):
    """As ComfyUI-Manager runs it: a process of its own, in the checkout, without A1111's `launch` module."""
    (tmp_path / "pip.py").write_text("import sys; print('pip', *sys.argv[1:])")
    environment = os.environ | {"PYTHONPATH": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"}

    def run(*options):
        command = [sys.executable, *options, "install.py"]
        return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)

    complete = run()
    assert (complete.stdout, complete.stderr) == ("", "")
    bare = run("-S")  # without site-packages: everything is missing
    assert bare.stdout.split() == ["pip", "install", "--no-deps", *(ROOT / "requirements.txt").read_text().split()]
    assert bare.stderr == ""


def test_settings_are_registered(host, monkeypatch):
    added = {}
    shared = sys.modules["modules.shared"]
    monkeypatch.setattr(shared.opts, "add_option", lambda name, info: added.update({name: info}), raising=False)
    host.module._settings()
    assert set(added) == {"commutant_memory", "commutant_disk"}
