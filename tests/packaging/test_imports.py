"""Importing is cheap, and the base install works without any model framework."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

MODULES = (
    "commutant",
    "commutant.operators",
    "commutant.commutator",
    "commutant.adapters",
    "commutant.errors",
    "commutant.adapters.sheet",
    "commutant.adapters.diffusers",
    "commutant.adapters.k_diffusion",
    "commutant.integrations",
    "commutant.integrations.cli",
    "commutant.integrations.sheets.folder",
    "commutant.integrations.sheets.page",
    "commutant.integrations.sheets.contact_sheet",
)
FRAMEWORKS = ("torch", "diffusers", "transformers", "PIL", "tqdm")


def python(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    # A relative PYTHONPATH, as developers type it, would not reach another working folder.
    paths = [str(Path(p).absolute()) for p in os.environ.get("PYTHONPATH", "").split(os.pathsep) if p]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, cwd=cwd, env=environment)


def loaded_by(statement: str) -> list[str]:
    done = python("-c", f"{statement}; import sys; print(*[m for m in {FRAMEWORKS!r} if m in sys.modules])")
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_no_import_of_ours_loads_a_framework() -> None:
    assert loaded_by("import " + ", ".join(MODULES)) == []


def test_the_check_notices_a_framework() -> None:
    assert loaded_by("import PIL") == ["PIL"]


def test_root_is_lazy_but_knows_its_parts() -> None:
    done = python(
        "-c",
        "import sys, commutant; print(any(m.startswith('commutant.') for m in sys.modules));"
        "print(commutant.commutator.Plan.__name__, *dir(commutant))",
    )
    first, second = done.stdout.splitlines()
    assert first == "False"
    parts = ["__version__", "adapters", "commutator", "errors", "integrations", "load_scenes", "operators"]
    assert second.split() == ["Plan", "SCENES_CALL_DEFAULTS", *parts]


def test_base_install_imports_and_runs_info_without_frameworks(tmp_path: Path) -> None:
    block = f"import sys; sys.modules.update(dict.fromkeys({FRAMEWORKS!r}))"
    done = python("-c", f"{block}; import {', '.join(MODULES)}")
    assert done.returncode == 0, done.stderr
    run = f"{block}; from commutant.integrations.cli import main; sys.exit(main(['info', 'nowhere']))"
    done = python("-c", run, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (2, "commutant: no such folder: nowhere\n")


@pytest.mark.parametrize("arguments", [["--version"], ["preview", "--help"]])
def test_module_runs_from_a_foreign_folder(tmp_path: Path, arguments: list[str]) -> None:
    done = python("-m", "commutant", *arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(("commutant ", "usage: commutant preview"))
