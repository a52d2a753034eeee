"""How far one must walk to follow a preview: files, functions and frames of the package that a call enters.

    python -m benchmarks.walk

The embedded model makes a preview, moves its image and finishes it, at 128 x 128 pixels and 8 steps, while every call
and return of the package's own functions is counted, in all threads. A file is left when a function of another file is
entered or returned to; coming back to it counts as a return. Depth counts the package's own frames on one stack.
Below that: the package's files (tests, benchmarks and the code that trains models left out), their lines, and the
circles of imports between modules that are made when they are first imported.
"""

from __future__ import annotations

import ast
import statistics
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("operators", "commutator", "adapters", "integrations")
SCENES = "integrations/scenes/"
RUNNING = frozenset(("__init__", "autoencoder", "classifier", "compose", "load", "objects", "vocabulary"))


def room_files(root: Path = ROOT, training: bool = False) -> list[Path]:
    """The package's own files by name, with or without those that only train models."""
    files = sorted(path for room in ROOMS for path in (root / room).rglob("*.py"))
    return [path for path in files if training or not is_training(path.relative_to(root).as_posix())]


def is_training(name: str) -> bool:
    """Whether a file, named from the root, serves the training of the embedded model only."""
    return name.startswith(SCENES) and name.removeprefix(SCENES).removesuffix(".py") not in RUNNING


@dataclass
class Walk:
    """What calls have entered since it began. Use it as a context.

    Attributes:
        files, functions: how often each was entered, functions by file and name.
        depth: the most frames of the package on one stack. returns: how often a file was come back to.
    """

    root: Path = ROOT
    files: Counter[str] = field(default_factory=Counter)
    functions: Counter[tuple[str, str]] = field(default_factory=Counter)
    depth: int = 0
    returns: int = 0

    def __enter__(self) -> Walk:
        self._here = threading.local()
        self._lock = threading.Lock()
        self._names: dict[str, str | None] = {}
        self._found = (sys.getprofile(), threading.getprofile())
        threading.setprofile(self._event)
        sys.setprofile(self._event)
        return self

    def __exit__(self, *error: object) -> None:
        sys.setprofile(self._found[0])
        threading.setprofile(self._found[1])

    def _event(self, frame: FrameType, event: str, argument: Any) -> None:
        if event not in ("call", "return"):
            return  # of C functions
        name = self._name(frame.f_code.co_filename)
        if name is None:
            return
        stack = self._here.__dict__.setdefault("stack", [])
        if event == "return":
            if stack:
                stack.pop()
            if stack:
                self._arrive(stack[-1])
            return
        stack.append(name)
        with self._lock:
            self.files[name] += 1
            self.functions[name, getattr(frame.f_code, "co_qualname", frame.f_code.co_name)] += 1
            self.depth = max(self.depth, len(stack))
        self._arrive(name)

    def _arrive(self, name: str) -> None:
        """The thread's attention is in the file `name`."""
        here = self._here.__dict__
        if name == here.get("file"):
            return
        seen = here.setdefault("seen", set())
        if name in seen:
            with self._lock:
                self.returns += 1
        seen.add(name)
        here["file"] = name

    def _name(self, filename: str) -> str | None:
        """The file's name from the root, or None for files of others."""
        if filename not in self._names:
            path = Path(filename)
            inside = path.is_relative_to(self.root) and path.relative_to(self.root).parts[0] in ROOMS
            self._names[filename] = path.relative_to(self.root).as_posix() if inside else None
        return self._names[filename]

    def __str__(self) -> str:
        return (
            f"{len(self.files):3} files, {len(self.functions):3} functions, {sum(self.functions.values()):5} calls, "
            f"{self.depth:2} frames deep, {self.returns:5} returns to a file left before"
        )


def imports(files: list[Path], root: Path = ROOT, *, later: bool = False) -> dict[str, set[str]]:
    """Which file imports which others by relative imports: with the module, or with `later` in functions and for type
    checkers too."""
    known = {path.relative_to(root).with_suffix("").parts: path.relative_to(root).as_posix() for path in files}
    out: dict[str, set[str]] = {}
    for parts, name in known.items():
        found: set[str] = set()
        for node in _relative(ast.parse((root / name).read_text(encoding="utf-8")), later):
            base = parts[: len(parts) - node.level]
            target = (*base, *node.module.split(".")) if node.module else base
            for alias in node.names:
                # A name of a package is a module of it, or stands in its __init__.
                module = (*target, alias.name)
                ways = (module, (*module, "__init__"), target, (*target, "__init__"))
                found.update([known[way] for way in ways if way in known][:1])
        out[name] = found - {name}
    return out


def _relative(node: ast.AST, later: bool) -> Iterator[ast.ImportFrom]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ImportFrom) and child.level:
            yield child
        elif isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test) and not later:
            for other in child.orelse:
                yield from _relative(other, later)
        elif later or not isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            yield from _relative(child, later)


def circles(graph: Mapping[str, set[str]]) -> list[list[str]]:
    """Sets of files of which each imports every other, directly or through others."""
    reach: dict[str, set[str]] = {}
    for start in graph:
        seen: set[str] = set()
        waiting = list(graph[start])
        while waiting:
            name = waiting.pop()
            if name not in seen:
                seen.add(name)
                waiting += graph[name]
        reach[start] = seen
    found = {frozenset(b for b in reach[a] if a in reach[b]) for a in graph if a in reach[a]}
    return sorted(sorted(members) for members in found)


def house(root: Path = ROOT) -> str:
    """The files at rest, as text."""
    files = room_files(root)
    lines = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in files}
    longest = max(files, key=lambda path: lines[path])
    at_once, met = (circles(imports(files, root, later=later)) for later in (False, True))
    said = [
        f"{len(room_files(root, training=True))} files with those that train the embedded model; without them:",
        f"{len(files)} files, {sum(lines.values())} lines, median {statistics.median(lines.values()):g}, longest "
        f"{lines[longest]} ({longest.relative_to(root).as_posix()})",
        f"{len(at_once)} circles of imports that run with their module, {len(met)} with those in functions and types",
    ]
    return "\n".join([*said, *(f"  {', '.join(members)}" for members in met)])


def walked(work: Callable[[], Any]) -> tuple[Walk, Any]:
    """The walk of `work`, and what it returned."""
    with Walk() as walk:
        out = work()
    return walk, out


def main() -> None:
    from commutant.adapters.diffusers import Previewer
    from commutant.integrations.scenes import SCENES_CALL_DEFAULTS, load_scenes
    from commutant.operators import Translate

    pipe = load_scenes()
    pipe.set_progress_bar_config(disable=True)
    call = {**SCENES_CALL_DEFAULTS, "height": 128, "width": 128, "num_inference_steps": 8}
    previewer = Previewer(pipe)
    asked = "a fox and a balloon on a night background"
    Previewer(pipe).preview(asked, seeds=[0], progress=False, **call)  # what is imported at first use is no walk
    preview, sheet = walked(lambda: previewer.preview(asked, seeds=[3], progress=False, **call))
    transform, _ = walked(lambda: previewer.transform(sheet[0], Translate(dx=16, dy=0)))
    finish, _ = walked(lambda: previewer.finish(sheet[0]))
    for name, walk in (("preview", preview), ("transform", transform), ("finish", finish)):
        print(f"{name:10} {walk}")
    print(house())
    for name, walk in (("preview", preview), ("transform", transform), ("finish", finish)):
        print(f"\n{name}: functions entered by file")
        per_file = Counter(file for file, _ in walk.functions)
        for file, count in sorted(per_file.items()):
            print(f"  {count:3}  {file}")


if __name__ == "__main__":
    main()
