"""The site: every public name is in the reference, and a dead link fails the build."""

from __future__ import annotations

import shutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

pytest.importorskip("mkdocs")
pytest.importorskip("mkdocstrings")
ROOT = Path(__file__).resolve().parents[2]
PUBLIC = ("operators", "commutator", "adapters.diffusers", "adapters.k_diffusion")

pytestmark = pytest.mark.slow


def build(root: Path, site: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(site)]
    return subprocess.run(command, cwd=root, capture_output=True, text=True)


def test_reference_holds_every_public_name(tmp_path: Path) -> None:
    done = build(ROOT, tmp_path)
    assert done.returncode == 0, done.stderr
    pages = "".join(page.read_text(encoding="utf-8") for page in (tmp_path / "reference").rglob("index.html"))
    modules = [import_module(f"commutant.{part}") for part in PUBLIC]
    # A function called like the file it stands in is hidden by it from a reader that runs nothing.
    hidden = {f"{m.__name__}.{p.stem}" for m in modules for p in Path(str(m.__file__)).parent.glob("*.py")}
    named = {f"{module.__name__}.{name}" for module in modules for name in module.__all__} - hidden
    assert named
    assert not {name for name in named if f'id="{name}"' not in pages}
    assert (tmp_path / "LICENSE.txt").is_file()
    assert 'href="../contributing/"' in (tmp_path / "readme" / "index.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "link", ["[gone](no-such-page.md)", "[gone](../NO-SUCH.md)", "[gone](method.md#no-such-anchor)"]
)
def test_a_dead_link_fails(link: str, tmp_path: Path) -> None:
    copy = tmp_path / "checkout"
    copy.mkdir()
    for name in ("docs", "operators", "commutator", "adapters", "integrations"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__", "weights", "sprites"))
    for file in (*ROOT.glob("*.md"), *(ROOT / name for name in ("LICENSE", "mkdocs.yml", "__init__.py", "errors.py"))):
        shutil.copy(file, copy)
    page = copy / "docs" / "README.md"
    page.write_text(page.read_text(encoding="utf-8") + f"\n{link}\n", encoding="utf-8")
    done = build(copy, tmp_path / "site")
    assert done.returncode != 0
    assert link.split("(")[1].split("#")[-1].removesuffix(")") in done.stderr
