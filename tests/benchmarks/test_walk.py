"""The walk counts what is entered, in every thread, and finds circles of imports."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from commutant.benchmarks.walk import Walk, circles, house, imports, is_training, room_files, walked

FILES = {
    "operators/a.py": "def outer(inner):\n    inner()\n    return inner()\n",
    "commutator/b.py": "def inner():\n    return 1\n",
    "adapters/c.py": "from .d import x\n",
    "adapters/d.py": "def late():\n    from .c import y\n",
    "integrations/scenes/train_flow.py": "",
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def function(root: Path, name: str, of: str) -> Any:
    namespace: dict[str, Any] = {}
    exec(compile((root / name).read_text(), str(root / name), "exec"), namespace)
    return namespace[of]


def test_what_is_entered(root: Path) -> None:
    outer, inner = function(root, "operators/a.py", "outer"), function(root, "commutator/b.py", "inner")
    with Walk(root) as walk:
        outer(inner)
        walked(lambda: None)  # of no room of this house
    assert walk.files == {"operators/a.py": 1, "commutator/b.py": 2}
    assert walk.functions == {("operators/a.py", "outer"): 1, ("commutator/b.py", "inner"): 2}
    assert (walk.depth, walk.returns) == (2, 3)  # a b a b a


def test_threads_have_stacks_of_their_own(root: Path) -> None:
    inner = function(root, "commutator/b.py", "inner")
    with Walk(root) as walk:
        threads = [threading.Thread(target=inner) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    inner()
    assert (walk.files["commutator/b.py"], walk.depth, walk.returns) == (3, 1, 0)


def test_circles(root: Path) -> None:
    files = room_files(root)
    assert [is_training(path.relative_to(root).as_posix()) for path in room_files(root, training=True)].count(True) == 1
    assert circles(imports(files, root)) == []
    assert circles(imports(files, root, later=True)) == [["adapters/c.py", "adapters/d.py"]]
    assert "1 with those in functions" in house(root)
    (root / "adapters/d.py").write_text("from . import c\n")
    assert circles(imports(files, root)) == [["adapters/c.py", "adapters/d.py"]]
