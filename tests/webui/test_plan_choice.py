"""A preset and a few numbers make a plan, also of a preset with several stages."""

import pytest

from commutant.commutator import DEFAULT_PRESET, Guidance, Plan, Stage, preset
from commutant.integrations import plans
from commutant.integrations.plans import chosen_plan


@pytest.fixture
def several(monkeypatch):
    """A preset of a head, coarse steps at the final's resolution, and low-resolution steps."""
    plan = Plan(4, (Stage(1, 3, order=2), Stage(2, 4, guidance=Guidance("defect", 2, 1.0))), "several")
    monkeypatch.setattr(plans, "preset", lambda name, steps, scale: plan)
    return plan


def test_without_choices_it_is_the_preset():
    assert chosen_plan(30) == preset(DEFAULT_PRESET, 30)
    assert chosen_plan(30, "matched") == preset("matched", 30)
    assert chosen_plan(30, "paper", 4) == preset("paper", 30, 4)
    assert chosen_plan(30, "paper", tail=0) == preset("paper", 30)  # its tail is that already


def test_the_numbers_replace_the_preset_s():
    plan = chosen_plan(30, "matched", head=9, tail=7, corrections=3)
    assert (plan.head, plan.stages[0].steps, plan.stages[0].guidance.steps) == (9, 7, 3)
    assert chosen_plan(30, "matched", corrections=0).stages[0].guidance is None
    assert chosen_plan(30, "matched", tail=0).steps is None
    assert chosen_plan(30, "matched", head=0).head == 0


def test_a_preset_s_stage_is_never_longer_than_what_the_head_leaves():
    assert chosen_plan(30, "matched", head=24).steps == 5
    assert chosen_plan(30, "matched", head=25).steps is None
    assert chosen_plan(30, "matched", head=25, tail=9).steps == 9  # but a person may ask for it


def test_of_several_stages_the_last_is_the_low_resolution_one(several):
    plan = chosen_plan(30, tail=6, corrections=1)
    assert plan.stages[0] == several.stages[0]
    assert (plan.stages[1].steps, plan.stages[1].guidance.steps) == (6, 1)
    assert chosen_plan(30) == several
    for all_low in (chosen_plan(30, tail=0), chosen_plan(30, head=23)):  # seven are left for stages of seven
        assert all_low.stages == (several.stages[1].replaced(steps=None),)


@pytest.mark.parametrize(
    ("choice", "why"),
    [
        ({"head": 30}, "switch must lie below the 30 sampling steps, got 30"),
        ({"head": -1}, "head"),
        ({"name": "naive", "corrections": 2}, "has no corrections"),
        ({"name": "none such"}, "unknown preset"),
        ({"tail": -1}, "steps of a stage"),
        ({"scale": 65}, "scale"),
    ],
)
def test_choices_that_make_no_plan(choice, why):
    with pytest.raises(ValueError, match=why):
        chosen_plan(30, **choice)
