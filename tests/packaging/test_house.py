"""The house rules of CONTRIBUTING that a file can break without a test noticing: layers, lengths, files of the root."""

from __future__ import annotations

import ast
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LAYERS = ("operators", "commutator", "adapters", "integrations")  # each imports those before it
FRAMEWORKS = ("torch", "diffusers", "transformers", "k_diffusion", "gradio", "comfy")
LONGEST = 420
NEEDED = ("README.md", "LICENSE", "CHANGELOG.md", "CONTRIBUTING.md", "CITATION.cff", "pyproject.toml", "py.typed")


def sources() -> list[Path]:
    """The Python files of the checkout, without environments and builds."""
    git = ["git", "ls-files", "-co", "--exclude-standard", "*.py"]
    try:
        listed = subprocess.run(git, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
        return [ROOT / name for name in listed if (ROOT / name).exists()]
    except (OSError, subprocess.CalledProcessError):  # a source archive
        return [p for folder in (*LAYERS, "tests", "benchmarks", "docs") for p in (ROOT / folder).rglob("*.py")]


def imported(tree: ast.AST, package: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """Every module that the tree of a file in `package` imports, as its path of names; ours without `commutant`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            paths = [tuple(alias.name.split(".")) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) + 1 - node.level] if node.level else ()
            module = (*base, *(node.module or "").split(".")) if node.module else base
            paths = [(*module, alias.name) for alias in node.names]
        else:
            continue
        yield from (path[1:] if path[0] == "commutant" else path for path in paths)


def upward(source: str, file: Path) -> list[str]:
    """Imports of a layer above the file's own."""
    rank = LAYERS.index(file.parts[0])
    found = imported(ast.parse(source), file.parts[:-1])
    return [".".join(path) for path in found if path[0] in LAYERS[rank + 1 :]]


def frameworks(source: str) -> list[str]:
    """Frameworks that importing the file imports: at its top, outside functions and `if TYPE_CHECKING`."""
    top = ast.Module([n for n in ast.parse(source).body if isinstance(n, ast.Import | ast.ImportFrom)], [])
    return [".".join(path) for path in imported(top, ()) if path[0] in FRAMEWORKS]


@pytest.mark.parametrize("layer", LAYERS)
def test_imports_run_down(layer: str) -> None:
    files = [p.relative_to(ROOT) for p in sources() if p.is_relative_to(ROOT / layer)]
    assert files
    wrong = {str(p): found for p in files if (found := upward((ROOT / p).read_text(encoding="utf-8"), p))}
    assert not wrong


@pytest.mark.parametrize("layer", LAYERS[:2])
def test_arrays_know_no_framework(layer: str) -> None:
    files = [p for p in sources() if p.is_relative_to(ROOT / layer)]
    wrong = {str(p): found for p in files if (found := frameworks(p.read_text(encoding="utf-8")))}
    assert not wrong


@pytest.mark.parametrize(
    ("file", "source", "wrong"),
    [
        ("operators/a.py", "from ..commutator import Plan", True),
        ("operators/a.py", "def f():\n    from ..commutator.plan import Plan", True),
        ("operators/noise/a.py", "from ... import adapters", True),
        ("commutator/a.py", "import commutant.adapters.sheet", True),
        ("adapters/diffusers/a.py", "from commutant.integrations import cli", True),
        ("adapters/diffusers/a.py", "from ...commutator import Plan\nfrom .. import errors", False),
        ("integrations/a.py", "from ..adapters import errors\nimport torch", False),
    ],
)
def test_the_check_notices_an_import_that_runs_up(file: str, source: str, wrong: bool) -> None:
    assert bool(upward(source, Path(file))) is wrong


def test_the_check_notices_a_framework() -> None:
    assert frameworks("import numpy\nfrom torch.nn import Module") == ["torch.nn.Module"]
    assert frameworks("def f():\n    import torch") == []


def test_no_file_is_too_long() -> None:
    lengths = {str(p.relative_to(ROOT)): len(p.read_text(encoding="utf-8").splitlines()) for p in sources()}
    assert len(lengths) > 100
    assert not {name: n for name, n in lengths.items() if n > LONGEST}


def test_the_root_holds_what_it_must() -> None:
    assert not [name for name in NEEDED if not (ROOT / name).is_file()]
