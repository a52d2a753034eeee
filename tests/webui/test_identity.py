"""Which requests share a beginning, and what an infotext may make of a request."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest

from commutant.integrations.webui.requests import fields_from_infotext
from commutant.integrations.webui.tapes import key_of

from . import fake_program


def generation(tmp_path, **changes):
    model = tmp_path / "model.safetensors"
    if not model.exists():
        model.write_bytes(b"weights")
    p = SimpleNamespace(
        sd_model=SimpleNamespace(sd_checkpoint_info=SimpleNamespace(filename=str(model))),
        all_prompts=["a fox", "a dog"],
        all_negative_prompts=["", ""],
        seeds=[1, 2],
        subseeds=[3, 4],
        subseed_strength=0.0,
        iteration=0,
        batch_size=2,
        scripts=SimpleNamespace(alwayson_scripts=[SimpleNamespace(args_from=1, args_to=3)]),
        script_args=(0, "control", np.zeros((4, 4))),
        steps=20,
        cfg_scale=7.0,
    )
    p.__dict__.update(changes)
    return p


def test_equal_requests_share_a_key(tmp_path):
    assert key_of(generation(tmp_path), 0) == key_of(generation(tmp_path), 0)


def test_an_image_keeps_its_key_outside_its_batch(tmp_path):
    alone = generation(
        tmp_path, all_prompts=["a dog"], all_negative_prompts=[""], seeds=[2], subseeds=[9], batch_size=1
    )
    assert key_of(alone, 0) == key_of(generation(tmp_path), 1)


@pytest.mark.parametrize(
    "change",
    [
        {"all_prompts": ["a <lora:fox:0.5> fox", "a dog"]},
        {"all_negative_prompts": ["blur", ""]},
        {"seeds": [7, 2]},
        {"subseed_strength": 0.1},
        {"steps": 21},
        {"cfg_scale": 7.5},
        {"sampler_name": "Heun"},
        {"width": 512},
        {"script_args": (0, "control", np.ones((4, 4)))},
        {"script_args": (0, "no control", np.zeros((4, 4)))},
        {"script_args": (0, SimpleNamespace(weight=1.0), np.zeros((4, 4)))},
        {"sd_model": SimpleNamespace(sd_checkpoint_info=SimpleNamespace(filename="another"))},
    ],
)
def test_another_request_has_another_key(tmp_path, change):
    assert key_of(generation(tmp_path, **change), 0) != key_of(generation(tmp_path), 0)


def test_a_model_replaced_under_its_name_is_another(tmp_path):
    before = key_of(generation(tmp_path), 0)
    (tmp_path / "model.safetensors").write_bytes(b"other weights")
    assert key_of(generation(tmp_path), 0) != before


def test_our_own_controls_and_the_page_s_seed_do_not_count(tmp_path):
    ours = SimpleNamespace(args_from=1, args_to=3, commutant=True)
    seed = SimpleNamespace(args_from=3, args_to=4, setup_for_ui_only=True)
    runner = SimpleNamespace(alwayson_scripts=[ours, seed])
    one = generation(tmp_path, scripts=runner, script_args=(0, "preview", "matched", -1))
    other = generation(tmp_path, scripts=runner, script_args=(0, "finish", "paper", 77))
    assert key_of(one, 0) == key_of(other, 0)


@pytest.mark.parametrize(
    ("name", "counts"), [("CLIP_stop_at_last_layers", True), ("sdxl_crop_top", True), ("outdir_samples", False)]
)
def test_settings_count_unless_they_are_about_files_and_looks(tmp_path, monkeypatch, name, counts):
    opts = SimpleNamespace(data={name: 1})
    monkeypatch.setitem(sys.modules, "modules.shared", SimpleNamespace(opts=opts))
    before = key_of(generation(tmp_path), 0)
    opts.data[name] = 2
    assert (key_of(generation(tmp_path), 0) != before) == counts


GOOD = {
    "Prompt": "a fox",
    "Steps": "20",
    "Sampler": "Euler a",
    "CFG scale": "7",
    "Seed": "5",
    "Size-1": "512",
    "Size-2": "768",
}


def test_an_infotext_makes_a_request():
    fields = fields_from_infotext(GOOD, fake_program.known_fields())
    assert (fields["width"], fields["height"], fields["seed"], fields["enable_hr"]) == (512, 768, 5, False)
    twice = fields_from_infotext(
        GOOD | {"Denoising strength": "0.5", "Hires upscale": "1.5"}, fake_program.known_fields()
    )
    assert (twice["enable_hr"], twice["hr_scale"], twice["denoising_strength"]) == (True, 1.5, 0.5)
    assert set(twice) <= fake_program.known_fields()


@pytest.mark.parametrize(
    "change",
    [
        {"Steps": "1000000"},
        {"Size-1": "-64"},
        {"Size-1": "9" * 30},
        {"CFG scale": "nan"},
        {"CFG scale": "inf"},
        {"Seed": "0x10"},
        {"Denoising strength": "2"},
        {"Steps": None},
    ],
)
def test_an_infotext_that_cannot_be_true_is_refused(change):
    with pytest.raises(ValueError, match="infotext"):
        fields_from_infotext(GOOD | change, fake_program.known_fields())


@pytest.mark.parametrize("name", sorted(GOOD))
def test_an_infotext_that_says_too_little_is_refused(name):
    said = {k: v for k, v in GOOD.items() if k != name}
    with pytest.raises(ValueError, match="does not say"):
        fields_from_infotext(said, fake_program.known_fields())
