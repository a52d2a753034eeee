"""Tapes on disk, and tapes that belong elsewhere."""

import dataclasses

import pytest
import torch

from commutant.adapters.k_diffusion import finish, image_of, preview, record
from commutant.commutator import Tape, TapeError

from .worlds import DTYPES, SAMPLERS, Drawing, latent, mean_plan, plain, random_state_kept, sigmas, wavy

EULER = SAMPLERS["sample_euler"]


def tape(sampler=EULER, model=wavy, dtype=torch.float32, **options):
    return preview(sampler, model, latent(dtype), sigmas(), mean_plan(), disable=True, **options).tape


def never(x, sigma, **extra):
    raise AssertionError("the model was asked")


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", ["sample_euler", "sample_dpmpp_2m_sde", "sample_euler_ancestral"])
def test_round_trip(name, dtype, tmp_path):
    sampler, before = SAMPLERS[name], torch.get_rng_state()
    tape(sampler, dtype=dtype).save(tmp_path / "a.tape")
    torch.manual_seed(3)
    final = finish(sampler, wavy, Tape.load(tmp_path / "a.tape", framework="torch"), disable=True)
    torch.set_rng_state(before)
    assert torch.equal(final, plain(sampler, wavy, latent(dtype), sigmas()))


def test_round_trip_in_numpy_and_with_a_model_that_draws(tmp_path):
    before = torch.get_rng_state()
    tape(SAMPLERS["sample_heun"], Drawing()).save(tmp_path / "a.tape")
    final = finish(SAMPLERS["sample_heun"], Drawing(), Tape.load(tmp_path / "a.tape"), disable=True)
    torch.set_rng_state(before)
    assert torch.equal(final, plain(SAMPLERS["sample_heun"], Drawing(), latent(torch.float32), sigmas()))


@pytest.mark.parametrize("switch", [0, 3])
def test_round_trip_of_other_memory_layouts(switch, tmp_path):
    """How torch fills random latents depends on how they lie in memory, which a file does not keep by itself."""
    x = latent(torch.float32, (2, 4, 8, 6)).to(memory_format=torch.channels_last)
    assert not torch.equal(_drawn(x), _drawn(x.contiguous()))
    sampler, plan = SAMPLERS["sample_euler_ancestral"], mean_plan(head=switch)
    before = torch.get_rng_state()
    preview(sampler, wavy, x, sigmas(), plan, disable=True).tape.save(tmp_path / "a.tape")
    final = finish(sampler, wavy, Tape.load(tmp_path / "a.tape", framework="torch"), disable=True)
    torch.set_rng_state(before)
    assert torch.equal(final, sampler(wavy, x, sigmas(), disable=True))


def test_a_latent_cut_from_a_larger_one():
    x = latent(torch.float32, (3, 4, 8, 8))[1:2, :1]
    before = torch.get_rng_state()
    result = preview(SAMPLERS["sample_euler_ancestral"], wavy, x, sigmas(), mean_plan(), disable=True)
    final = finish(SAMPLERS["sample_euler_ancestral"], wavy, result.tape, disable=True)
    torch.set_rng_state(before)
    assert torch.equal(final, SAMPLERS["sample_euler_ancestral"](wavy, x, sigmas(), disable=True))


def _drawn(x):
    torch.manual_seed(0)
    return torch.randn_like(x)


def test_each_image_of_a_batch_has_a_tape_of_its_own(tmp_path):
    x, sampler = latent(torch.float32, (3, 4, 8, 8)), SAMPLERS["sample_dpmpp_2m"]
    whole = preview(sampler, wavy, x, sigmas(), mean_plan(), disable=True).tape
    for index in range(3):
        image_of(whole, index).save(tmp_path / "a.tape")
        final = finish(sampler, wavy, Tape.load(tmp_path / "a.tape", framework="torch"), disable=True)
        assert torch.equal(final, plain(sampler, wavy, x[index : index + 1], sigmas()))
        assert not torch.equal(final, plain(sampler, wavy, x[index - 1 : index or None], sigmas()))
    for index in (-1, 3):
        with pytest.raises(IndexError, match="holds 3 images"):
            image_of(whole, index)


def test_equal_runs_make_equal_files(tmp_path):
    torch.manual_seed(7)
    first = tape().save(tmp_path / "a.tape")
    torch.manual_seed(7)
    assert tape().save(tmp_path / "b.tape") == first


def test_header_says_what_it_belongs_to():
    header = tape(s_churn=1.0).header
    assert header["sampler"] == "sample_euler"
    assert header["path"] == "variance-exploding"
    assert header["plan"] == mean_plan().to_dict()
    assert header["switch"] == 3
    assert record(EULER, wavy, latent(), sigmas(), 2, disable=True).header["plan"] is None


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ({"sampler": SAMPLERS["sample_lms"]}, "'sample_euler', not with sample_lms"),
        ({"s_churn": 1.0}, "other options"),
        ({"extra_args": {"shift": 0.2}}, "other options"),
        ({"extra_args": {"cond": torch.ones(2)}}, "other options"),
        ({"sigmas": sigmas() * 1.001}, "other sigmas"),
        ({"sigmas": sigmas(8)}, "other sigmas"),
        ({"sigmas": sigmas().double()}, "float32 sigmas"),
        ({"noise_sampler": lambda a, b: None}, "without noise_sampler"),
    ],
)
def test_a_tape_of_another_run_is_refused_before_the_model(call, message):
    made = tape()
    arguments = {"sampler": EULER, "model": never, "tape": made, "disable": True} | call
    with random_state_kept(), pytest.raises(TapeError, match=message):
        finish(**arguments)


def test_conditions_are_told_apart_by_content():
    cond = {"cond": torch.arange(3.0), "list": [torch.ones(1), "a", None]}

    def model(x, sigma, **extra):
        return wavy(x, sigma)

    made = preview(EULER, model, latent(), sigmas(), mean_plan(), cond, disable=True).tape
    same = {"cond": torch.arange(3.0), "list": [torch.ones(1), "a", None]}
    finish(EULER, model, made, extra_args=same, disable=True)
    for other in (
        {"cond": torch.arange(3.0) + 1e-6, "list": same["list"]},
        same | {"list": [torch.ones(1), "b", None]},
    ):
        with pytest.raises(TapeError, match="extra_args"):
            finish(EULER, never, made, extra_args=other)


@pytest.mark.parametrize(
    "header",
    [
        {"kind": "flux"},
        {"path": "elsewhere"},
        {"switch": 5},
        {"switch": True},
        {"switch": None},
        {"dtypes": ["float32"]},
        {"dtypes": ["object", "float32", "float32"]},
        {"dtypes": [[], {}, None]},
        {"sigmas": "int8"},
        {"sigmas_device": "/dev/sda"},
        {"device": "cuda:99999"},
        {"device": "meta"},
        {"device": "xpu:0"},
        {"rng": []},
        {"rng": [-1]},
        {"rng": [12]},
        {"rng": [2528, 2528]},
        {"drew": [9]},
        {"drew": ["0"]},
        {"drew": [0]},
        {"coarse": 1},
        {"layouts": []},
        {"layouts": [[192, 64, 8, 1]] * 3},
        {"layouts": [[192, 64, 8, 0]] * 4},
        {"layouts": [[192, 64, 8, 2]] * 4},
        {"layouts": [[10**12, 64, 8, 1]] * 4},
        {"layouts": [["192", 64, 8, 1]] * 4},
    ],
    ids=str,
)
def test_a_header_from_outside_is_checked_field_by_field(header):
    made = tape()
    assert torch.equal(finish(EULER, wavy, made, disable=True), plain(EULER, wavy, latent(torch.float32), sigmas()))
    with random_state_kept(), pytest.raises(TapeError):
        finish(EULER, never, dataclasses.replace(made, header={**made.header, **header}), disable=True)


@pytest.mark.parametrize("key", ["kind", "path", "sampler", "options", "switch", "device", "rng", "dtypes"])
def test_a_missing_field_is_named(key):
    made = tape()
    header = {k: v for k, v in made.header.items() if k != key}
    with pytest.raises(TapeError, match=key):
        finish(EULER, never, dataclasses.replace(made, header=header), disable=True)


def test_a_tape_without_generator_state_or_with_another_latent():
    made = tape()
    for change in ({"rng": None}, {"rng": made.rng[:-1]}, {"noise": made.noise + 1.0}, {"outputs": made.outputs[:2]}):
        with random_state_kept(), pytest.raises(TapeError):
            finish(EULER, never, dataclasses.replace(made, **change), disable=True)


def test_an_answer_of_another_dtype_is_kept(tmp_path):
    """A model that answers in float32 for narrower latents: the answers come back in their own dtype."""

    def model(x, sigma):
        return wavy(x, sigma).float() if float(sigma[0]) > 5 else wavy(x, sigma)

    levels = sigmas().to(torch.bfloat16)
    x = latent(torch.bfloat16)
    made = preview(EULER, model, x, levels, mean_plan(), disable=True).tape
    made.save(tmp_path / "a.tape")
    final = finish(EULER, model, Tape.load(tmp_path / "a.tape", framework="torch"), disable=True)
    assert torch.equal(final, EULER(model, x, levels, disable=True))
