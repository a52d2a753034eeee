"""Plans as values: what they accept, their JSON form, and the named ones."""

import json
import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from commutant.commutator import DEFAULT_PRESET, PRESETS, Guidance, Plan, Stage, preset
from commutant.commutator.plan import KINDS
from commutant.operators import BlockMean, SpectralCrop, StridedSelection

from .plans import plans, staged_plans

STAGE = Stage(2, 6, "strided", "argmin", 5, "same", Guidance("anchor", 3, 0.5))
PLAN = Plan(4, (Stage(1, 2, order=2), STAGE), "mine").to_dict()


@given(plan=plans() | staged_plans())
def test_json_round_trip(plan):
    again = Plan.from_dict(json.loads(json.dumps(plan.to_dict(), allow_nan=False)))
    assert again == plan
    assert hash(again) == hash(plan)


@given(first=plans() | staged_plans(), second=plans())
def test_json_tells_plans_apart(first, second):
    assert (first.to_dict() == second.to_dict()) is (first == second)


LAST = PLAN["stages"][1]
GUIDANCE = LAST["guidance"]


def changed(**fields) -> dict:
    return {**PLAN, **fields}


def staged(**fields) -> dict:
    """The plan with fields of its last stage changed."""
    return changed(stages=[PLAN["stages"][0], {**LAST, **fields}])


def guided(**fields) -> dict:
    return staged(guidance={**GUIDANCE, **fields})


def without(stage: dict) -> dict:
    return changed(stages=[PLAN["stages"][0], stage])


NOT_TEXT = [3, 2.5, True, ["mean"], {"a": 1}]
NOT_WHOLE = [1.0, "1", True, [1], {}]
MALFORMED = [
    *[("name", changed(name=bad)) for bad in (*NOT_TEXT, None)],
    *[(key, staged(**{key: bad})) for key in ("operator", "selection", "time", "scale") for bad in NOT_TEXT],
    *[(key, staged(**{key: None})) for key in ("selection", "time", "scale")],
    *[("head", changed(head=bad)) for bad in (*NOT_WHOLE, None)],
    *[(key, staged(**{key: bad})) for key in ("selection_seed", "steps", "order") for bad in NOT_WHOLE],
    *[(key, staged(**{key: None})) for key in ("selection_seed", "order")],
    *[(key, {k: v for k, v in PLAN.items() if k != key}) for key in PLAN],
    *[(key, without({k: v for k, v in LAST.items() if k != key})) for key in LAST],
    *[(key, staged(**{key: "nonsense"})) for key in ("operator", "selection", "time", "scale", "guidance")],
    *[("scale", staged(scale=bad)) for bad in ("0", "-2", "2/0", "0/2", "nan", "inf", "3/2", "65", "", " 2", "1")],
    *[("scale", staged(scale=bad)) for bad in ("1/2/3", "1e999999999", "2.0", "9" * 5000, "٢", "129/65", "1001/1000")],
    *[("head", changed(head=bad)) for bad in (-1, 10**12)],
    *[("steps", staged(steps=bad)) for bad in (0, -1, 10**12, None)],
    *[("stages", changed(stages=bad)) for bad in (3, "scale", None, {"a": 1}, [PLAN["stages"][0]] * 17)],
    *[("a stage", changed(stages=[bad])) for bad in (3, "scale", None, [])],
    ("selection_seed", staged(selection_seed=-1)),
    ("order", staged(order=3)),
    *[("early_switch", changed(early_switch=bad)) for bad in (0, 1.0, "0.5", True, [])],
    *[("selection", staged(operator=op)) for op in ("mean", "spectral")],
    *[("guidance", staged(guidance=bad)) for bad in (3, [], "exact", {}, {**GUIDANCE, "extra": 1})],
    *[("guidance", staged(guidance={k: v for k, v in GUIDANCE.items() if k != gone})) for gone in GUIDANCE],
    *[("kind", guided(kind=bad)) for bad in ("none", 3, None, ["exact"])],
    *[("steps", guided(steps=bad)) for bad in (0, -1, 1.0, True, None, "1", 10**12)],
    *[("weight", guided(weight=bad)) for bad in (0, -0.1, 1.1, math.nan, math.inf, True, None, "0.5")],
    *[("decay", guided(decay=bad)) for bad in ("fast", 1, None, ["linear"])],
    *[("reference", guided(reference=bad)) for bad in ("tail", 0, None)],
    ("colour", changed(colour="red")),
    ("colour", staged(colour="red")),
    ("7", {**PLAN, 7: 1}),
]  # fmt: skip


@pytest.mark.parametrize(("field", "data"), MALFORMED)
def test_a_malformed_dict_is_refused_by_the_name_of_the_field(field, data):
    with pytest.raises(ValueError, match=field):
        Plan.from_dict(data)


@pytest.mark.parametrize("data", [None, [], "plan", 3, [("head", 1)]])
def test_what_is_no_object_is_refused(data):
    with pytest.raises(ValueError, match="must be an object"):
        Plan.from_dict(data)


def test_the_unchanged_dict_is_accepted():
    assert Plan.from_dict(PLAN).to_dict() == PLAN
    assert Plan.from_dict(guided(weight=1)).stages[1].guidance == Guidance("anchor", 3, 1.0)


@pytest.mark.parametrize("scale", [0, 0.5, -2, math.nan, math.inf, "x", None, 65, [2], 1.00001, Fraction(131, 65)])
def test_scales_that_are_none_are_refused_by_name(scale):
    with pytest.raises(ValueError, match="scale"):
        Stage(scale)


def test_scales_are_exact_fractions():
    assert Stage(4 / 3).scale == Fraction(4, 3)
    assert Stage(1.5).scale == Fraction(3, 2)
    assert Plan(1, (Stage(3),)).scale == 3


def test_operators_of_a_stage_are_those_from_the_resolution_before():
    assert Stage(3, operator="mean").candidates(1) == (BlockMean(3),)
    assert Stage(1.5).candidates(1) == (SpectralCrop.by(Fraction(3, 2)),)
    assert Stage(3).candidates(2) == (SpectralCrop.by(Fraction(3, 2)),)
    assert Stage(4, operator="mean").candidates(2) == (BlockMean(2),)
    assert Stage(operator="strided").candidates(1) == (StridedSelection(2, 0),)
    assert Stage(1).candidates(1) == ()
    for selection in ("argmin", "argmax", "random"):
        assert Stage(operator="strided", selection=selection).candidates(1) == StridedSelection.family(2)


REFUSED = {
    "shows nothing": lambda: Plan(0),
    "scales must not fall": lambda: Plan(1, (Stage(2, 2), Stage(1, 2))),
    "stage 1 keeps the scale": lambda: Plan(1, (Stage(2, 2), Stage(2, 2))),
    "changes the scale and needs an operator": lambda: Plan(1, (Stage(2, 2, None),)),
    "is for the only stage": lambda: Plan(1, (Stage(2, None), Stage(4, 2))),
    "integer scale, got 3/2": lambda: Plan(1, (Stage(2, 2), Stage(3, 2, "mean"))),
    "needs a head or a stage": lambda: Plan(0, (Stage(2, 2, guidance=Guidance("anchor", 1, 0.5, reference="last")),)),
    "early_switch ends a head early": lambda: Plan(0, (Stage(2),), early_switch=0.1),
    "no operator, got 'mean'": lambda: Stage(1, 2, "mean"),
    "this stage keeps it": lambda: Stage(1, 2, guidance=Guidance("defect", 1, 1.0)),
    "at most 16 stages": lambda: Plan(1, (Stage(1, 1),) * 17),
    "the plan has no stage": lambda: Plan.live(3).with_last(steps=2),
}


@pytest.mark.parametrize("said", REFUSED)
def test_plans_refuse_by_name(said):
    with pytest.raises(ValueError, match=said):
        REFUSED[said]()


def test_replaced_is_a_custom_plan():
    plan = preset("matched", 30)
    assert plan.replaced(head=5) == Plan.from_dict({**plan.to_dict(), "head": 5, "name": "custom"})
    assert plan.with_last(steps=3).stages == (plan.stages[0].replaced(steps=3),)
    assert plan.replaced(name="mine").name == "mine"


def test_what_a_plan_records_and_what_a_finish_continues():
    """In steps: the head, and the answer after it where the first stage needs one."""
    anchored = Guidance("anchor", 1, 0.5, reference="last")
    for plan, recorded in (
        (Plan.live(8), 8),
        (Plan.fewer(8), 0),
        (Plan(0, (Stage(1, 4), Stage(2, 2))), 0),
        (Plan(0, (Stage(2),)), 0),
        (Plan(6, (Stage(2),)), 6),
        (Plan(6, (Stage(2, guidance=anchored),)), 6),
        (preset("matched", 30), 7),
        (preset("paper", 30), 11),
        (Plan(3, (Stage(1, 4), Stage(2, 4))), 4),
    ):
        assert (plan.recorded_steps, plan.resumes) == (recorded, recorded > 0)


OLD = {
    "name": "mine", "switch": 6, "head_steps": None, "operator": "spectral", "scale": "2", "selection": "first",
    "selection_seed": 0, "time": "matched", "tail": 5,
    "guidance": {"kind": "anchor", "steps": 2, "weight": 1.0, "decay": "linear", "reference": "head"},
    "order": 2, "settle": 0.25,
}  # fmt: skip
NOTHING = {"operator": "strided", "scale": "1", "guidance": None, "settle": None}


def test_plans_of_version_0_1_are_read():
    guidance = Guidance("anchor", 2, 1.0, "linear", "last")
    assert Plan.from_dict(OLD) == Plan(6, (Stage(2, 5, guidance=guidance, order=2),), "mine", 0.25)
    shown = {**OLD, **NOTHING, "tail": 0}
    assert Plan.from_dict({**shown, "switch": 7, "order": 1}) == Plan.live(8, "mine")
    assert Plan.from_dict({**shown, "switch": 7, "head_steps": 8}) == Plan.fewer(8, 2, "mine")
    coarse = {**OLD, "switch": 4, "head_steps": 8, "guidance": None, "settle": None}
    for tail in (None, 4):
        made = Plan.from_dict({**coarse, "tail": tail})
        assert made == Plan(0, (Stage(1, 4, order=2), Stage(2, 4, order=2)), "mine")


@pytest.mark.parametrize("changes", [{"tail": 5}, {"tail": 0}, {"switch": 0, "tail": None}])
def test_plans_of_version_0_1_that_are_none_today_are_refused_with_the_way_out(changes):
    with pytest.raises(ValueError, match="make the preview again"):
        Plan.from_dict({**OLD, "switch": 4, "head_steps": 8, "guidance": None, "settle": None, **changes})


@pytest.mark.parametrize("key", OLD)
def test_a_malformed_plan_of_version_0_1_is_refused(key):
    for bad in ({k: v for k, v in OLD.items() if k != key}, {**OLD, key: ["x"]}):
        with pytest.raises(ValueError, match=r"plan|stage|guidance|scale"):
            Plan.from_dict(bad)


def test_weights_of_guidance_by_step():
    assert [Guidance("anchor", 3, 0.6).at(i) for i in range(5)] == [0.6, 0.6, 0.6, 0.0, 0.0]
    falling = [Guidance("anchor", 3, 0.6, decay="linear").at(i) for i in range(5)]
    assert falling == pytest.approx([0.6, 0.4, 0.2, 0.0, 0.0])


def test_kinds_are_all_constructible():
    assert [Guidance(kind, 1, 1.0).kind for kind in KINDS] == list(KINDS)


PAPER = Plan(
    10, (Stage(2, None, "strided", "argmin", 0, "same", Guidance("exact", 5, 0.04, "constant", "switch")),), "paper"
)


def test_the_paper_at_thirty_steps():
    plan = preset("paper", 30)
    assert plan == PAPER
    assert plan.stages[0].candidates(1) == StridedSelection.family(2)
    assert plan.recorded_steps == 11


@pytest.mark.parametrize(
    ("steps", "switch", "corrections"), [(2, 1, 1), (12, 4, 2), (15, 5, 2), (60, 20, 10), (90, 30, 15)]
)
def test_the_paper_at_other_lengths_keeps_its_proportions(steps, switch, corrections):
    plan = preset("paper", steps)
    assert (plan.head, plan.stages[0].guidance.steps, plan.stages[0].guidance.weight) == (switch, corrections, 0.04)


@given(name=st.sampled_from(PRESETS), steps=st.integers(2, 200))
def test_every_preset_leaves_a_stage(name, steps):
    plan = preset(name, steps)
    assert plan.name == name
    assert 0 <= plan.head < steps
    assert plan.steps is None or plan.steps <= steps
    assert Plan.from_dict(plan.to_dict()) == plan
    thirty = preset(name, 30)
    assert abs(plan.head - steps * thirty.head / 30) < 1


@given(name=st.sampled_from(["matched", "direct"]))
def test_presets_without_a_family_take_any_scale(name):
    assert preset(name, 30, Fraction(3, 2)).stages[0].candidates(1) == (SpectralCrop.by(Fraction(3, 2)),)
    assert preset(name, 30, 2).stages[0].candidates(1) == (SpectralCrop.by(2),)


def test_presets_refuse():
    assert DEFAULT_PRESET in PRESETS
    with pytest.raises(ValueError, match="unknown preset 'mine'; there are staged, matched, paper"):
        preset("mine", 30)
    with pytest.raises(ValueError, match="at least 2 steps, got 1"):
        preset("paper", 1)
    with pytest.raises(ValueError, match="integer scale"):
        preset("paper", 30, Fraction(3, 2))
