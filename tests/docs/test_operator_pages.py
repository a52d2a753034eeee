"""The pages of the operators: their Python runs, and what is generated in them is what the code says today."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from commutant import operators
from commutant.benchmarks.gallery import index, pages
from commutant.benchmarks.gallery.covariance import Colour, colour
from commutant.benchmarks.gallery.families import families
from commutant.benchmarks.gallery.values import Values
from commutant.operators import Affine, BlockMean, FourierShift, LinearOperator, Translate

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGES = sorted((DOCS / "operators").glob("*.md"))
# The fitted resize acts on three dims: it is no operator of the gallery, and its table is that of another benchmark.
FAMILIES = [page for page in PAGES if page.stem not in ("README", "fitted")]


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.stem)
def test_python_blocks_run(page: Path) -> None:
    space: dict[str, Any] = {}
    for block in re.findall(r"^```python\n(.*?)^```", text_of(page), re.DOTALL | re.MULTILINE):
        exec(compile(block, page.name, "exec"), space)
    assert space or page.name == "README.md"


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.stem)
def test_links_lead_somewhere(page: Path) -> None:
    prose = re.sub(r"^```.*?^```", "", text_of(page), flags=re.DOTALL | re.MULTILINE)
    for target in re.findall(r"\]\(([^)#\s]+)(?:#\S*)?\)", prose):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_every_family_has_its_page() -> None:
    assert {page.stem for page in FAMILIES} == set(families())


def test_table_of_all_operators_is_that_of_the_code() -> None:
    page = text_of(DOCS / "operators" / "README.md")
    assert pages.part(page, "operators") == index.table(), "run python -m benchmarks.gallery --only index"
    assert pages.part(page.replace("| kept |", "| no |", 1), "operators") != index.table()


def test_table_holds_every_operator() -> None:
    exported = (getattr(operators, name) for name in operators.__all__)
    kinds = {kind for kind in exported if isinstance(kind, type)}
    concrete = {k for k in kinds if issubclass(k, LinearOperator) and k is not LinearOperator}
    assert {type(operator) for _, _, operator in index.rows()} == concrete


@pytest.mark.parametrize("page", FAMILIES, ids=lambda p: p.stem)
def test_commutator_tables_are_means_of_the_csv(page: Path) -> None:
    values = Values.load(DOCS / "operators" / "commutators.csv")
    seeds, steps = sorted({k[0] for k in values.norms}), sorted({k[3] for k in values.norms})
    assert len(seeds) == 8
    table, *_ = pages.part(text_of(page), "commutator").split("\n\n")
    entries = families()[page.stem]
    assert table == values.markdown(page.stem, entries, seeds, steps)
    key = next(k for k in values.norms if k[1] == page.stem)
    values.norms[key] = (values.norms[key][0] + 1, values.norms[key][1])
    assert table != values.markdown(page.stem, entries, seeds, steps)


def test_parts_of_a_page() -> None:
    page = "head\n<!-- a:begin -->\nold\n<!-- a:end -->\ntail\n"
    assert pages.part(page, "a") == "old"
    assert pages.replaced(page, "a", "new") == page.replace("old", "new")
    assert pages.replaced(page, "a", "old") == page
    for broken in (page.replace("begin", "start"), page + page, "<!-- a:end --><!-- a:begin -->"):
        with pytest.raises(ValueError, match="must hold"):
            pages.part(broken, "a")


def test_colour_of_noise() -> None:
    """Exact on known cases: means, copies, half a pixel between four neighbours; partners are white."""
    size = 8, 8
    assert colour(BlockMean(2), size) == pytest.approx(Colour(0.5, 0.0))
    assert colour(Translate(2, 0), size) == pytest.approx(Colour(1.0, 1.0))
    assert colour(Affine.shift(0.5, 0, fill="zero"), (1, 200)).correlation == pytest.approx(np.sqrt(0.5))
    assert colour(Affine.shift(0.5, 0), (1, 200)).std == pytest.approx(np.sqrt(0.5), abs=0.01)
    for operator in (Translate(2, 0), FourierShift(0.5, 0), Affine.rotation(8)):
        assert colour(operator.noise_partner(), size) == pytest.approx(Colour(1.0, 0.0), abs=1e-12)
        assert colour(operator, size) != pytest.approx(Colour(1.0, 0.0), abs=1e-3)
