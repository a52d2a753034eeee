"""What is said of the package in several files is said the same."""

from __future__ import annotations

import re
from importlib import metadata
from pathlib import Path

import commutant

ROOT = Path(__file__).resolve().parents[2]


def test_base_dependencies_are_those_of_requirements_txt() -> None:
    listed = (ROOT / "requirements.txt").read_text().split()
    required = [r.replace(" ", "") for r in metadata.requires("commutant") or [] if "extra ==" not in r]
    assert sorted(required) == sorted(listed)


def test_citation_names_this_version() -> None:
    cited = re.search(r"^version: (\S+)$", (ROOT / "CITATION.cff").read_text(), re.MULTILINE)
    assert cited is not None
    assert cited[1] == commutant.__version__


def test_changelog_knows_this_version() -> None:
    assert f"## [{commutant.__version__}]" in (ROOT / "CHANGELOG.md").read_text()
