"""The accordion's values, and their way through an infotext."""

import pytest

from commutant.integrations.webui.accordion import INFOTEXT, Settings, from_infotext

from . import fake_program


def round_trip(settings, written=Settings.infotext):
    """The settings that "PNG info" puts back."""
    text = "a fox\n" + ", ".join(f"{k}: {v}" for k, v in {"Steps": 20, "Seed": 1, **written(settings)}.items())
    said = fake_program.parse_generation_parameters(text)
    return Settings(*(from_infotext(field, said) for field in Settings.__dataclass_fields__))


@pytest.mark.parametrize(
    "settings",
    [
        Settings("preview"),
        Settings("preview", "paper", "3", 4, 0),
        Settings("preview", "direct", "4/3", 0, -1),
        Settings("preview", "matched", "3/2", 12, 7),
    ],
)
def test_an_infotext_restores_the_accordion(settings):
    assert round_trip(settings) == settings
    assert set(settings.infotext()) <= set(INFOTEXT)


def test_that_check_sees_a_value_that_looks_like_a_size():
    torn = {"Preview": "matched", "Preview scale": "2x2"}
    assert round_trip(Settings("preview", scale="4"), lambda _: torn) != Settings("preview", scale="4")


def test_an_infotext_without_a_preview_switches_it_off():
    assert round_trip(Settings("off"), lambda _: {}) == Settings("off")


@pytest.mark.parametrize(
    "said",
    [
        {"Preview": "<script>", "Preview scale": "999"},
        {"Preview": "matched", "Preview scale": ["2"], "Preview switch": "-5", "Preview corrections": "1e9"},
        {"Preview": "matched", "Preview switch": "٣", "Preview corrections": "nan"},
    ],
)
def test_an_infotext_may_say_anything(said):
    values = [from_infotext(field, said) for field in Settings.__dataclass_fields__]
    Settings.read(*values)


def test_values_from_a_browser_are_floats():
    assert Settings.read("preview", "paper", "2", 5.0, -1.0) == Settings("preview", "paper", "2", 5, -1)


@pytest.mark.parametrize("values", [("preview",) * 6, ("preview", "matched", "2", True), ("preview", "matched", 2.5)])
def test_values_that_are_refused(values):
    with pytest.raises(ValueError):
        Settings.read(*values)


def test_the_plan_follows_the_controls():
    assert Settings("preview").plan(30).to_dict()["name"] == "matched"
    plan = Settings("preview", "paper", "2", 4, 2).plan(30)
    assert (plan.head, plan.stages[0].guidance.steps, plan.stages[0].guidance.kind) == (4, 2, "exact")
    assert Settings("preview", "paper", corrections=0).plan(30).stages[0].guidance is None
    assert Settings("preview").plan(30).steps == 5
    assert Settings("preview").plan(30, tail=False).steps is None
    assert Settings("preview", switch=25).plan(30).steps is None  # five are left, a stage of five is no short cut
