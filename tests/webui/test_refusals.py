"""What cannot be previewed becomes a plain picture with a comment, never a broken job."""

from types import SimpleNamespace

import numpy as np
import pytest


def plainly(host, *values, before=None, **fields):
    """The comments of a generation that gave the plain picture; None where it did not."""
    plain, made = host.make("off", before=before, **fields), host.make(*values, before=before, **fields)
    equal = np.array_equal(np.asarray(made.images[0]), np.asarray(plain.images[0]))
    return made.comments if equal and made.infotexts == plain.infotexts else None


@pytest.mark.parametrize(
    ("name", "why"),
    [("By norm", "not linear"), ("Euler CFG++", "CFG++"), ("DDIM", "schedule of its own kind")],
)
def test_samplers(host, name, why):
    assert why in plainly(host, "preview", sampler_name=name)


def test_that_check_sees_a_preview(host):
    assert plainly(host, "preview", sampler_name="Euler") is None


def test_a_program_without_the_hook(host, monkeypatch):
    """A1111 before 1.10 fires nothing before it samples."""
    from . import fake_program

    monkeypatch.setattr(fake_program.ScriptRunner, "process_before_every_sampling", lambda *_, **__: None)
    monkeypatch.delattr(fake_program.Script, "process_before_every_sampling")
    assert "needs A1111 1.10 or newer" in plainly(host, "preview")


def test_an_adaptive_sampler_is_told_by_what_it_takes(host):
    from commutant.integrations.webui.sampler import refusal

    from . import fake_sampling

    sampler = SimpleNamespace(func=fake_sampling.sample_adaptive, model_wrap_cfg=None)
    assert "adaptive" in refusal(SimpleNamespace(sampler=sampler, sampler_name="DPM adaptive"))


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"mask": object()}, "mask"),
        ({"image_mask": object()}, "mask"),
        ({"is_using_inpainting_conditioning": True}, "inpainting"),
        ({"refiner_checkpoint_info": object()}, "refiner"),
    ],
)
def test_what_the_generation_has(host, change, why):
    comments = plainly(host, "preview", before=lambda p: p.__dict__.update(change))
    assert why in comments


@pytest.mark.parametrize(
    ("model", "why"),
    [
        ({"is_inpaint": True}, "inpainting"),
        ({"model": SimpleNamespace(conditioning_key="hybrid")}, "another picture"),
        ({"forge_objects": SimpleNamespace(unet=SimpleNamespace(extra_concat_condition=1))}, "another picture"),
    ],
)
def test_what_the_model_is(host, model, why):
    def before(p):
        p.sd_model = SimpleNamespace(**{**vars(host.program.model), **model})

    assert why in plainly(host, "preview", before=before)


@pytest.mark.parametrize(
    ("values", "why"),
    [
        (("preview", "no such preset"), "preset must be one of"),
        (("sideways",), "mode must be one of"),
        (("preview", "matched", "2x2"), "scale must be one of"),
        (("preview", "matched", "2", "many"), "switch must be a whole number"),
        (("preview", "matched", "2", 99), "must lie below the 12 sampling steps"),
        (("preview", "naive", "2", 0, 3), "has no corrections"),
        ((["preview"],), "mode must be one of"),
    ],
)
def test_values_that_make_no_plan(host, values, why):
    assert why in plainly(host, *values)


def test_a_size_that_does_not_divide(host):
    comments = plainly(host, "preview", width=136)
    assert "nearest valid sizes" in comments


@pytest.mark.parametrize("missing", ["refusal", "is_wrapped", "request_of"])
def test_a_hook_that_meets_an_unknown_program(host, monkeypatch, missing):
    """The program would swallow the hook's own errors without a word."""

    def broken(p):
        raise AttributeError("a program with another sampler object")

    monkeypatch.setattr(host.module, missing, broken)
    made = host.make("preview")
    assert made.images[0].size == (128, 64)
    assert "this version of the program is unknown" in made.comments


def test_flow_models_are_told_by_their_predictor():
    from commutant.integrations.webui.sampler import is_flow

    def forge(kind):
        predictor = SimpleNamespace(prediction_type=kind)
        unet = SimpleNamespace(model=SimpleNamespace(predictor=predictor))
        return SimpleNamespace(forge_objects=SimpleNamespace(unet=unet))

    assert is_flow(forge("const"))
    assert not is_flow(forge("epsilon"))
    assert is_flow(SimpleNamespace(is_sd3=True))
    assert not is_flow(SimpleNamespace(is_sd3=False))
