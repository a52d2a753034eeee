"""Samplers of the same contract from elsewhere: right ones work unmodified, broken ones are refused in time."""

import pytest
import torch

from commutant.adapters.k_diffusion import UnsupportedError, finish, preview, record
from commutant.commutator import Guidance
from commutant.operators import BlockMean, ShapeError

from . import third_party
from .worlds import (
    ADAPTIVE,
    SAMPLERS,
    Seeing,
    latent,
    low_plan,
    mean_plan,
    plain,
    random_state_kept,
    relative,
    sigmas,
    wavy,
)

EXACT = Guidance("exact", 2, 0.1)


def never(x, sigma, **extra):
    raise AssertionError("the model was asked")


def constant(x, sigma):
    return torch.full_like(x, 0.3)


@pytest.mark.parametrize("sampler", third_party.RIGHT, ids=lambda s: s.__name__)
def test_right_samplers_are_previewed_and_finished(sampler):
    before = torch.get_rng_state()
    result = preview(sampler, wavy, latent(), sigmas(), mean_plan())
    final = finish(sampler, wavy, result.tape)
    torch.set_rng_state(before)
    assert torch.equal(final, plain(sampler, wavy, latent(), sigmas()))


@pytest.mark.parametrize("sampler", third_party.RIGHT, ids=lambda s: s.__name__)
@pytest.mark.parametrize("switch", [0, 2])
def test_right_samplers_match_their_noise(sampler, switch):
    """With answers that commute the preview is A of the plain final, absolute noise levels and all."""
    levels = sigmas()[:6]
    before = torch.get_rng_state()
    low = preview(sampler, constant, latent(), levels, mean_plan(head=switch)).latent
    torch.set_rng_state(before)
    assert relative(low, BlockMean(2)(plain(sampler, constant, latent(), levels))) <= 1e-12


def test_a_sampler_that_runs_in_float32_only_and_writes_to_its_schedule():
    sampler, x, told = third_party.sample_float32_matrices, latent(torch.float32), []
    levels = sigmas()
    result = preview(sampler, wavy, x, levels, mean_plan(), callback=told.append)
    assert torch.equal(levels, sigmas())  # the dry runs and the preview leave the user's as it was
    assert [info["denoised"].shape[-1] for info in told] == [8] * 3 + [4] * 4
    final = plain(sampler, wavy, x, sigmas())
    assert torch.equal(finish(sampler, wavy, result.tape, levels), final)
    assert float(levels[-1]) == pytest.approx(0.001)  # what reads them afterwards finds them as after the plain run
    low = preview(sampler, constant, x, sigmas(), mean_plan()).latent
    assert relative(low, BlockMean(2)(plain(sampler, constant, x, sigmas()))) < 1e-4


@pytest.mark.parametrize("sampler", third_party.UNREPLAYABLE, ids=lambda s: s.__name__)
@pytest.mark.parametrize("operator", ["strided", "mean"])
def test_samplers_without_exact_replay_are_refused(sampler, operator):
    with random_state_kept(), pytest.raises(UnsupportedError, match=f"{sampler.__name__} is not linear"):
        preview(sampler, never, latent(), sigmas(), mean_plan(operator=operator))
    tape = record(sampler, wavy, latent(), sigmas(), 3)
    before = torch.get_rng_state()
    final = finish(sampler, wavy, tape)
    torch.set_rng_state(before)
    assert torch.equal(final, plain(sampler, wavy, latent(), sigmas()))


@pytest.mark.parametrize(
    ("sampler", "plan", "message"),
    [
        (SAMPLERS[ADAPTIVE], mean_plan(), "adaptive steps.*finish still works"),
        (third_party.sample_silent, mean_plan(), "does not call its callback"),
        (third_party.sample_with_info, mean_plan(), "returns tuple"),
        (third_party.sample_euler_cfg_pp, mean_plan(), "without _cfg_pp"),
        (third_party.sample_copying, mean_plan(guidance=EXACT), "a copy of it.*'anchor' or 'defect'"),
        (SAMPLERS["sample_heun"], mean_plan(guidance=EXACT), "asks its model more often.*'anchor' or 'defect'"),
        (SAMPLERS["sample_dpm_fast"], mean_plan(head=1, steps=2), "makes its own schedule.*steps=None"),
        (SAMPLERS["sample_dpmpp_sde"], mean_plan(steps=2), "noise_sampler"),
        (SAMPLERS["sample_euler"], mean_plan(time="same"), "time='matched' or operator='strided'"),
    ],
    ids=lambda v: getattr(v, "__name__", ""),
)
def test_refusals_come_before_the_model(sampler, plan, message):
    with random_state_kept(), pytest.raises(UnsupportedError, match=message):
        preview(sampler, never, latent(), sigmas(), plan, disable=True)


def test_churn_with_another_number_of_steps_is_refused():
    with pytest.raises(UnsupportedError, match="depend on the number of steps"):
        preview(SAMPLERS["sample_euler"], never, latent(), sigmas(), mean_plan(steps=2), disable=True, s_churn=2.0)
    preview(SAMPLERS["sample_euler"], wavy, latent(), sigmas(), mean_plan(steps=4), disable=True, s_churn=2.0)


def test_a_copying_sampler_is_previewed_without_state_corrections():
    euler = preview(SAMPLERS["sample_euler"], wavy, latent(), sigmas(), mean_plan(), disable=True).latent
    assert relative(preview(third_party.sample_copying, wavy, latent(), sigmas(), mean_plan()).latent, euler) < 1e-6


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"x": latent(shape=(2, 3, 7, 8))}, ShapeError, r"\(6, 8\)|\(8, 8\)"),
        ({"x": latent().long()}, TypeError, "floating"),
        ({"x": latent(shape=(8, 8))}, ValueError, "batch"),
        ({"sigmas": sigmas().flip(0)}, ValueError, "fall"),
        ({"sigmas": sigmas().tolist()}, TypeError, "tensor"),
        ({"sigmas": sigmas()[None]}, TypeError, "one-dimensional"),
        ({"sigmas": torch.tensor([float("nan"), 1.0, 0.0])}, ValueError, "NaN"),
        ({"plan": mean_plan(head=7)}, ValueError, "0..6"),
    ],
)
def test_wrong_arguments_are_named(change, error, message):
    arguments = {"x": latent(), "sigmas": sigmas(), "plan": mean_plan()} | change
    with pytest.raises(error, match=message):
        preview(SAMPLERS["sample_euler"], never, disable=True, **arguments)


def test_flow_levels_must_lie_on_the_flow():
    from commutant.commutator import RectifiedFlow, VariancePreserving

    with pytest.raises(ValueError, match="rectified-flow"):
        preview(SAMPLERS["sample_euler"], never, latent(), sigmas(), mean_plan(), path=RectifiedFlow())
    with pytest.raises(UnsupportedError, match="variance-preserving"):
        preview(SAMPLERS["sample_euler"], never, latent(), sigmas(), mean_plan(), path=VariancePreserving())


def test_a_model_that_answers_another_shape_is_named():
    with random_state_kept(), pytest.raises(TypeError, match="denoised latent"):
        preview(SAMPLERS["sample_euler"], lambda x, s: x[..., :1], latent(), sigmas(), mean_plan(), disable=True)


def test_samplers_read_the_models_attributes_and_options_reach_it():
    def sampler(model, x, sigmas, extra_args=None, callback=None, disable=None):
        assert model.name == "the user's model"
        with pytest.raises(AttributeError):
            _ = model.nothing
        return SAMPLERS["sample_euler"](model, x, sigmas, extra_args, callback, True)

    shifted = preview(sampler, Seeing(), latent(), sigmas(), mean_plan(), {"shift": 0.9})
    euler = SAMPLERS["sample_euler"]
    again = preview(euler, Seeing(), latent(), sigmas(), mean_plan(), {"shift": 0.9}, disable=True)
    assert torch.equal(shifted.latent, again.latent)
    final = finish(sampler, Seeing(), shifted.tape, extra_args={"shift": 0.9})
    assert torch.equal(final, plain(euler, wavy, latent(), sigmas(), extra_args={"shift": 0.9}))


def test_recording_more_than_there_is():
    with pytest.raises(ValueError, match="asked its model 7 times"):
        record(SAMPLERS["sample_euler"], wavy, latent(), sigmas(), 7, disable=True)
    with pytest.raises(ValueError, match="negative"):
        record(SAMPLERS["sample_euler"], never, latent(), sigmas(), -1)
    with pytest.raises(UnsupportedError, match="_cfg_pp"):
        record(third_party.sample_euler_cfg_pp, never, latent(), sigmas(), 2)


def test_plan_is_checked_for_selection_too():
    low = preview(
        third_party.sample_in_place, wavy, latent(), sigmas(), low_plan(2, operator="strided", selection="argmin")
    )
    assert low.latent.shape == (2, 3, 4, 4)
