"""Hypothesis plans of every kind."""

from typing import Any

from hypothesis import strategies as st

from commutant.commutator import Guidance, Plan
from commutant.commutator.plan import KINDS, SELECTIONS


@st.composite
def guidances(draw: Any, *, headless: bool = False) -> Guidance:
    kind = draw(st.sampled_from(KINDS))
    free = kind == "defect" or headless
    return Guidance(
        kind,
        steps=draw(st.integers(1, 12)),
        weight=draw(st.floats(1e-3, 1.0)),
        decay=draw(st.sampled_from(["constant", "linear"])),
        reference="switch" if free else draw(st.sampled_from(["switch", "head"])),
    )


@st.composite
def plans(draw: Any, *, most: int = 8, scales: tuple[str, ...] = ("5/4", "4/3", "3/2", "2", "5/2", "3")) -> Plan:
    """A plan with a switch of at most `most`; a coarse head is left out."""
    operator = draw(st.sampled_from(["strided", "mean", "spectral"]))
    allowed = scales if operator == "spectral" else [s for s in scales if "/" not in s]
    switch = draw(st.integers(0, most))
    return Plan(
        draw(st.sampled_from(["custom", "käse"])),
        switch,
        None,
        operator,
        draw(st.sampled_from(allowed)),
        draw(st.sampled_from(SELECTIONS)) if operator == "strided" else "first",
        draw(st.integers(0, 2**40)),
        draw(st.sampled_from(["matched", "same"])),
        draw(st.none() | st.integers(1, 12)),
        draw(st.none() | guidances(headless=switch == 0)),
    )
