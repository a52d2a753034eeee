"""What is in the wheel and in the source archive, and that both work away from the checkout."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LEFT_OUT = (
    ".git",
    ".venv*",
    ".types",
    ".*_cache",
    ".hypothesis",
    "build",
    "dist",
    "*.egg-info",
    "__pycache__",
    "sheet",
)
SCENES = ROOT / "integrations" / "scenes"
TRAINING = SCENES / "training"  # in a checkout and in the source archive only


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clean copy of the checkout: a build leaves nothing in the real one, and finds no leftovers of an older one."""
    copy = tmp_path_factory.mktemp("source") / "a.checkout"
    shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(*LEFT_OUT))
    return copy


@pytest.fixture(scope="module")
def wheel(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--no-index", "-q"]
    done = subprocess.run([*pip, "-w", str(out), str(source)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (made,) = out.glob("*.whl")
    return made


@pytest.fixture(scope="module")
def names(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


OWN = ("__init__.py", "__main__.py", "errors.py")


def modules() -> set[str]:
    """Every Python file of the four packages and those of the root, as the wheel should hold it."""
    folders = ("operators", "commutator", "adapters", "integrations")
    files = [p for folder in folders for p in (ROOT / folder).rglob("*.py") if TRAINING not in p.parents]
    return {f"commutant/{p.relative_to(ROOT).as_posix()}" for p in [*files, *(ROOT / name for name in OWN)]}


def test_wheel_holds_every_module(names: set[str]) -> None:
    missing = modules() - names
    assert not missing, f"not in the wheel; is their package listed in pyproject.toml? {sorted(missing)}"


def test_wheel_holds_data_and_licences(names: set[str]) -> None:
    data = {"py.typed", *(f"integrations/sheets/page.{kind}" for kind in ("css", "html", "js"))}
    for folder in ("sprites", "weights"):
        data |= {p.relative_to(ROOT).as_posix() for p in (SCENES / folder).rglob("*") if p.is_file()}
    data |= {p.relative_to(ROOT).as_posix() for p in SCENES.glob("*.json")}
    assert {f"commutant/{name}" for name in data} <= names
    assert any(n.endswith(".dist-info/licenses/LICENSE") for n in names)
    assert any(n.endswith(".dist-info/licenses/integrations/scenes/sprites/LICENSE") for n in names)


def test_wheel_holds_nothing_else(names: set[str]) -> None:
    tops = {n.split("/")[1] for n in names if n.startswith("commutant/")}
    tops -= {"install.py"}  # of the web UIs; setuptools takes all modules that lie in a package's folder
    assert tops == {*OWN, "py.typed", "operators", "commutator", "adapters", "integrations"}
    assert not [n for n in names if "/scenes/training/" in n]
    others = {n.split("/")[0] for n in names} - {"commutant"}
    assert len(others) == 1
    assert others.pop().endswith(".dist-info")


def test_wheel_works_away_from_the_checkout(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    code = (
        "import commutant, sys; from commutant.integrations.sheets.page import _asset; import commutant.commutator;"
        "print(commutant.__file__, len(_asset('page.css')) > 0, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, cwd=tmp_path)
    assert done.stdout.split() == [str(tmp_path / "commutant" / "__init__.py"), "True", "False"], done.stderr


def test_source_archive_can_be_tested_and_built(source: Path, tmp_path: Path) -> None:
    code = f"from setuptools.build_meta import build_sdist; build_sdist({str(tmp_path)!r})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=source)
    assert done.returncode == 0, done.stdout + done.stderr
    (made,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(made) as archive:
        held = {n.partition("/")[2] for n in archive.getnames()}
    wanted = {n.removeprefix("commutant/") for n in modules()}
    wanted |= {"pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", "CONTRIBUTING.md", ".ci/run", "py.typed"}
    wanted |= {p.relative_to(ROOT).as_posix() for p in (ROOT / "tests").rglob("*.py")}
    wanted |= {p.relative_to(ROOT).as_posix() for p in TRAINING.glob("*.py")}
    assert wanted <= held, sorted(wanted - held)


@pytest.mark.slow
def test_editable_install(source: Path, tmp_path: Path) -> None:
    """In a folder of another name, with the command on the path."""
    environment = tmp_path / "environment"
    subprocess.run([sys.executable, "-m", "venv", "--system-site-packages", str(environment)], check=True)
    binaries = environment / ("Scripts" if os.name == "nt" else "bin")
    site = next(p for p in sys.path if p.endswith("site-packages"))
    clean = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    # The tests may run in an environment of their own, which system-site-packages does not reach.
    pip = [str(binaries / "python"), "-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation", "--no-index"]
    done = subprocess.run([*pip, "-e", str(source)], capture_output=True, text=True, env={**clean, "PYTHONPATH": site})
    assert done.returncode == 0, done.stdout + done.stderr
    done = subprocess.run(
        [str(binaries / "commutant"), "--version"], capture_output=True, text=True, env=clean, cwd=tmp_path
    )
    assert done.stdout.startswith("commutant "), done.stderr
    where = "import commutant, commutant.integrations.cli; print(commutant.__file__)"
    done = subprocess.run(
        [str(binaries / "python"), "-c", where], capture_output=True, text=True, env=clean, cwd=tmp_path
    )
    assert done.stdout.strip() == str(source / "__init__.py"), done.stderr
