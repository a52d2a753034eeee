"""Plans as people give them: presets with numbers, and files; anything else is refused by name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from commutant.commutator import Plan, preset
from commutant.errors import Refusal
from commutant.integrations.plans import PlanFile

MATCHED = preset("matched", 30).replaced(early_switch=0.2)


@pytest.mark.parametrize(
    "plan", [preset("matched", 30), preset("paper", 30), Plan.fewer(6, order=2), Plan.live(4), MATCHED]
)
def test_round_trip(tmp_path: Path, plan: Plan) -> None:
    PlanFile(plan, 30, {"psnr": 20.5}).save(tmp_path / "plan.json")
    assert PlanFile.load(tmp_path / "plan.json") == PlanFile(plan, 30, {"psnr": 20.5})


def _changed(**changes) -> str:
    data = {"format": "commutant-plan", "version": 1, "steps": 30, "plan": preset("matched", 30).to_dict()}
    return json.dumps({**data, **changes})


def _stage(**changes) -> str:
    data = preset("matched", 30).to_dict()
    return _changed(plan={**data, "stages": [{**data["stages"][0], **changes}]})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "no JSON"),
        ("[1]", "no plan of this version"),
        (_changed(version=2), "no plan of this version"),
        (_changed(steps="30"), "'steps'"),
        (_changed(steps=True), "'steps'"),
        (_changed(plan=None), "lacks the fields"),
        (_stage(steps=-1), "steps"),
        (_stage(order=3), "order"),
        (_changed(plan={**preset("matched", 30).to_dict(), "early_switch": "x"}), "early_switch"),
        (_stage(scale="1/2"), "scale"),
        (_stage(operator="strided", scale="4/3"), "integer scale"),
        (_changed(plan={**preset("matched", 30).to_dict(), "head": 10**12}), "head must lie in"),
        (" " * 200_000, "too large"),
    ],
)
def test_anything_else_is_refused(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "plan.json"
    path.write_text(text)
    with pytest.raises(Refusal, match=said):
        PlanFile.load(path)
    with pytest.raises(Refusal, match="cannot read"):
        PlanFile.load(tmp_path / "none.json")
