"""What the documentation shows is run: its Python, its command lines, its links."""

from __future__ import annotations

import argparse
import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from commutant.integrations import cli

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)


def command_lines() -> list[str]:
    lines = [line for page in PAGES for block in blocks(page, "sh") for line in block.splitlines()]
    return [part.strip() for line in lines for part in line.split("&&") if part.strip().startswith("commutant ")]


def test_there_are_command_lines() -> None:
    assert len(command_lines()) >= 5


@pytest.mark.parametrize("line", command_lines())
def test_command_lines_parse(line: str) -> None:
    words = shlex.split(line, comments=True)[1:]
    if "--help" not in words:
        assert callable(cli.parser().parse_args(words).run)


def test_command_line_page_names_every_option() -> None:
    page = (ROOT / "docs" / "command-line.md").read_text()
    (commands,) = (a for a in cli.parser()._actions if isinstance(a, argparse._SubParsersAction))
    for command, parser in commands.choices.items():
        options = {o for a in parser._actions for o in a.option_strings if o.startswith("--")}
        missing = {o for o in options - {"--help"} if f"`{o}" not in page}
        assert not missing, f"docs/command-line.md says nothing of {sorted(missing)} of {command}"


def test_readme_array_example() -> None:
    *_, example = blocks(ROOT / "README.md", "python")
    *setup, strided, mean = example.strip().splitlines()
    space: dict[str, Any] = {}
    exec("\n".join(setup), space)
    assert np.all(eval(strided, space) < 1e-12)
    assert np.all(eval(mean, space) > 1.0)


def test_readme_pipeline_example(monkeypatch: pytest.MonkeyPatch) -> None:
    """The README's own lines, with a tiny random Flux at a small size in place of the real one."""
    diffusers = pytest.importorskip("diffusers")
    from ..diffusers.tiny import tiny_flux

    pipe = tiny_flux()
    monkeypatch.setattr(diffusers.FluxPipeline, "from_pretrained", lambda *_, **__: pipe)
    monkeypatch.setattr(diffusers.FluxPipeline, "to", lambda self, *_: self)
    example = blocks(ROOT / "README.md", "python")[0]
    for large, small in (
        ("1024", "64"),
        ("range(16)", "range(4)"),
        ("num_inference_steps=30", "num_inference_steps=4"),
        ("dx=64", "dx=8"),
    ):
        assert large in example
        example = example.replace(large, small)
    space: dict[str, Any] = {}
    exec(example, space)
    assert space["sheet"][3].image.size == (32, 32)
    assert space["final"].size == space["shifted"].size == (64, 64)


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)(?:#\S*)?\)", page.read_text()):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"
