"""Plans as values: what they accept, their JSON form, and the named ones."""

import json
import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from commutant.commutator import DEFAULT_PRESET, PRESETS, Guidance, Plan, preset
from commutant.commutator.plan import KINDS
from commutant.operators import BlockMean, SpectralCrop, StridedSelection

from .plans import plans

PLAN = Plan("mine", 4, None, "strided", Fraction(2), "argmin", 5, "same", 6, Guidance("anchor", 3, 0.5)).to_dict()


@given(plan=plans())
def test_json_round_trip(plan):
    again = Plan.from_dict(json.loads(json.dumps(plan.to_dict(), allow_nan=False)))
    assert again == plan
    assert hash(again) == hash(plan)


@given(first=plans(), second=plans())
def test_json_tells_plans_apart(first, second):
    assert (first.to_dict() == second.to_dict()) is (first == second)


GUIDANCE = PLAN["guidance"]


def changed(**fields) -> dict:
    return {**PLAN, **fields}


def guided(**fields) -> dict:
    return {**PLAN, "guidance": {**PLAN["guidance"], **fields}}


NOT_TEXT = [None, 3, 2.5, True, ["mean"], {"a": 1}]
NOT_WHOLE = [1.0, "1", True, [1], {}]
MALFORMED = [
    *[(key, changed(**{key: bad})) for key in ("name", "operator", "selection", "time", "scale") for bad in NOT_TEXT],
    *[(key, changed(**{key: bad})) for key in ("switch", "selection_seed", "tail", "head_steps") for bad in NOT_WHOLE],
    *[(key, changed(**{key: None})) for key in ("switch", "selection_seed")],
    *[(key, {k: v for k, v in PLAN.items() if k != key}) for key in PLAN],
    *[(key, changed(**{key: "nonsense"})) for key in ("operator", "selection", "time", "scale", "guidance")],
    *[("scale", changed(scale=bad)) for bad in ("1", "0", "-2", "2/0", "0/2", "nan", "inf", "3/2", "65", "", " 2")],
    *[("scale", changed(scale=bad)) for bad in ("1/2/3", "1e999999999", "2.0", "9" * 5000, "٢", "129/65", "1001/1000")],
    *[("switch", changed(switch=-1)), ("tail", changed(tail=0)), ("selection_seed", changed(selection_seed=-1))],
    *[("head_steps", changed(head_steps=bad)) for bad in (-1, 0, 4)],
    *[("selection", changed(operator=op)) for op in ("mean", "spectral")],
    *[("guidance", changed(guidance=bad)) for bad in (3, [], "exact", {}, {**PLAN["guidance"], "extra": 1})],
    *[("guidance", changed(guidance={k: v for k, v in GUIDANCE.items() if k != gone})) for gone in GUIDANCE],
    *[("kind", guided(kind=bad)) for bad in ("none", 3, None, ["exact"])],
    *[("steps", guided(steps=bad)) for bad in (0, -1, 1.0, True, None, "1")],
    *[("weight", guided(weight=bad)) for bad in (0, -0.1, 1.1, math.nan, math.inf, True, None, "0.5")],
    *[("decay", guided(decay=bad)) for bad in ("fast", 1, None, ["linear"])],
    *[("reference", guided(reference=bad)) for bad in ("tail", 0, None)],
    ("reference", guided(kind="defect", reference="head")),
    ("switch", {**guided(reference="head"), "switch": 0}),
    ("colour", changed(colour="red")),
    ("7", {**PLAN, 7: 1}),
]  # fmt: skip


@pytest.mark.parametrize(("field", "data"), MALFORMED)
def test_a_malformed_dict_is_refused_by_the_name_of_the_field(field, data):
    with pytest.raises(ValueError, match=field):
        Plan.from_dict(data)


@pytest.mark.parametrize("data", [None, [], "plan", 3, [("switch", 1)]])
def test_what_is_no_object_is_refused(data):
    with pytest.raises(ValueError, match="must be an object"):
        Plan.from_dict(data)


def test_the_unchanged_dict_is_accepted():
    assert Plan.from_dict(PLAN).to_dict() == PLAN
    assert Plan.from_dict(guided(weight=1)).guidance == Guidance("anchor", 3, 1.0)


@pytest.mark.parametrize("scale", [0, 1, -2, math.nan, math.inf, "x", None, 65, [2], 1.00001, Fraction(131, 65)])
def test_scales_that_are_none_are_refused_by_name(scale):
    with pytest.raises(ValueError, match="scale"):
        Plan(operator="spectral", scale=scale)


def test_scales_are_exact_fractions():
    assert Plan(operator="spectral", scale=4 / 3).scale == Fraction(4, 3)
    assert Plan(operator="spectral", scale=1.5).scale == Fraction(3, 2)
    assert Plan(scale=3).scale == 3


def test_operators_of_a_plan():
    assert Plan(operator="mean", scale=3).operators() == (BlockMean(3),)
    assert Plan(operator="spectral", scale=1.5).operators() == (SpectralCrop.by(Fraction(3, 2)),)
    assert Plan(operator="strided").operators() == (StridedSelection(2, 0),)
    for selection in ("argmin", "argmax", "random"):
        assert Plan(operator="strided", selection=selection).operators() == StridedSelection.family(2)


def test_replaced_is_a_custom_plan():
    plan = preset("matched", 30)
    assert plan.replaced(tail=5) == Plan.from_dict({**plan.to_dict(), "tail": 5, "name": "custom"})
    assert plan.replaced(name="mine").name == "mine"


def test_weights_of_guidance_by_step():
    assert [Guidance("anchor", 3, 0.6).at(i) for i in range(5)] == [0.6, 0.6, 0.6, 0.0, 0.0]
    falling = [Guidance("anchor", 3, 0.6, decay="linear").at(i) for i in range(5)]
    assert falling == pytest.approx([0.6, 0.4, 0.2, 0.0, 0.0])


def test_kinds_are_all_constructible():
    assert [Guidance(kind, 1, 1.0).kind for kind in KINDS] == list(KINDS)


PAPER = Plan(
    "paper", 10, None, "strided", Fraction(2), "argmin", 0, "same", None,
    Guidance("exact", 5, 0.04, "constant", "switch"),
)  # fmt: skip


def test_the_paper_at_thirty_steps():
    plan = preset("paper", 30)
    assert plan == PAPER
    assert plan.operators() == StridedSelection.family(2)
    assert plan.high_evaluations == 11


@pytest.mark.parametrize(
    ("steps", "switch", "corrections"), [(2, 1, 1), (12, 4, 2), (15, 5, 2), (60, 20, 10), (90, 30, 15)]
)
def test_the_paper_at_other_lengths_keeps_its_proportions(steps, switch, corrections):
    plan = preset("paper", steps)
    assert (plan.switch, plan.guidance.steps, plan.guidance.weight) == (switch, corrections, 0.04)


@given(name=st.sampled_from(PRESETS), steps=st.integers(2, 200))
def test_every_preset_leaves_a_tail(name, steps):
    plan = preset(name, steps)
    assert plan.name == name
    assert 0 <= plan.switch < steps
    assert plan.tail is None or plan.tail <= steps
    assert Plan.from_dict(plan.to_dict()) == plan
    thirty = preset(name, 30)
    assert abs(plan.switch - steps * thirty.switch / 30) < 1


@given(name=st.sampled_from(["matched", "direct"]))
def test_presets_without_a_family_take_any_scale(name):
    assert preset(name, 30, Fraction(3, 2)).operators() == (SpectralCrop.by(Fraction(3, 2)),)
    assert preset(name, 30, 2).operators() == (SpectralCrop.by(2),)


def test_presets_refuse():
    assert DEFAULT_PRESET in PRESETS
    with pytest.raises(ValueError, match="unknown preset 'mine'; there are matched, paper"):
        preset("mine", 30)
    with pytest.raises(ValueError, match="at least 2 steps, got 1"):
        preset("paper", 1)
    with pytest.raises(ValueError, match="integer scale"):
        preset("paper", 30, Fraction(3, 2))
