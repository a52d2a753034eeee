"""A finish is the plain call, bit for bit, wherever it was recorded, and does not pay for what was recorded."""

import functools
import itertools

import pytest
import torch

from commutant.adapters.k_diffusion import finish, preview, record
from commutant.commutator import RectifiedFlow, TapeError

from .worlds import (
    ADAPTIVE,
    CHURNING,
    DTYPES,
    FIXED,
    SAMPLERS,
    Drawing,
    Seeing,
    flow_sigmas,
    latent,
    low_plan,
    mean_plan,
    plain,
    random_state_kept,
    relative,
    sigmas,
    wavy,
)


def both(sampler, model, x, levels, plan, **options):
    """(the final from a preview's tape, the plain call from the same random state, their random states afterwards)."""
    before = torch.get_rng_state()
    tape = preview(sampler, model, x, levels, plan, disable=True, **options).tape
    assert torch.equal(torch.get_rng_state(), before)
    options.pop("path", None)
    torch.manual_seed(99)  # whatever the user did in between
    final, after = finish(sampler, model, tape, disable=True, **options), torch.get_rng_state()
    torch.set_rng_state(before)
    expected = plain(sampler, model, x, levels, **options)
    return final, expected, after, torch.get_rng_state()


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", FIXED)
def test_finish_is_the_plain_call(name, dtype):
    final, expected, after, plainly = both(SAMPLERS[name], wavy, latent(dtype), sigmas(), mean_plan(name))
    assert torch.equal(final, expected)
    assert torch.equal(after, plainly)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", ["sample_euler", "sample_heun", "sample_dpmpp_2m", "sample_euler_ancestral"])
def test_finish_of_latents_that_stay_narrow(name, dtype):
    """With sigmas of the latent's dtype nothing is promoted on the way."""
    final, expected, *_ = both(SAMPLERS[name], wavy, latent(dtype), sigmas().to(dtype), mean_plan(name))
    assert final.dtype == dtype
    assert torch.equal(final, expected)


@pytest.mark.parametrize("name", CHURNING)
@pytest.mark.parametrize("reference", [False, True])
def test_finish_with_churn(name, reference):
    plan = low_plan(2, operator="strided", selection="argmin" if reference else "first")
    final, expected, after, plainly = both(SAMPLERS[name], wavy, latent(), sigmas(), plan, s_churn=4.0, s_tmin=0.1)
    assert torch.equal(final, expected)
    assert torch.equal(after, plainly)
    assert relative(plain(SAMPLERS[name], wavy, latent(), sigmas()), expected) > 1e-3  # the churn was there


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("calls", [0, 1, 5])
def test_an_adaptive_sampler_is_recorded_and_finished(dtype, calls):
    sampler = SAMPLERS[ADAPTIVE]
    with random_state_kept():
        tape = record(sampler, wavy, latent(dtype), sigmas(), calls, disable=True)
    model = Seeing()
    final = finish(sampler, model, tape, disable=True)
    whole = Seeing()
    assert torch.equal(final, plain(sampler, whole, latent(dtype), sigmas()))
    assert len(model.asked) == len(whole.asked) - calls


@pytest.mark.parametrize("name", FIXED)
def test_recorded_answers_are_not_asked_again(name):
    model, whole = Seeing(), Seeing()
    result = preview(SAMPLERS[name], wavy, latent(), sigmas(), mean_plan(name), disable=True)
    finish(SAMPLERS[name], model, result.tape, disable=True)
    plain(SAMPLERS[name], whole, latent(), sigmas())
    assert result.evaluations.high == result.tape.recorded > 0
    assert len(model.asked) == len(whole.asked) - result.tape.recorded


def test_a_model_that_draws_random_numbers():
    for name in ("sample_euler", "sample_euler_ancestral", "sample_dpmpp_sde"):
        final, expected, after, plainly = both(SAMPLERS[name], Drawing(), latent(), sigmas(), mean_plan(name))
        assert torch.equal(final, expected)
        assert torch.equal(after, plainly)


@pytest.mark.parametrize("name", ["sample_dpmpp_sde", "sample_dpmpp_2m_sde", "sample_euler_ancestral"])
def test_given_noise_sampler_made_again(name):
    def made():  # runs only forward: it must be made again for every run
        generator = torch.Generator().manual_seed(5)
        return lambda sigma, sigma_next: torch.randn((2, 3, 8, 8), generator=generator, dtype=torch.float64)

    sampler = SAMPLERS[name]
    tape = preview(sampler, wavy, latent(), sigmas(), mean_plan(name), disable=True, noise_sampler=made()).tape
    final = finish(sampler, wavy, tape, disable=True, noise_sampler=made())
    assert torch.equal(final, plain(sampler, wavy, latent(), sigmas(), noise_sampler=made()))

    def other(sigma, sigma_next):
        return torch.zeros((2, 3, 8, 8), dtype=torch.float64)

    with pytest.raises(TapeError, match="noise_sampler"):
        finish(sampler, wavy, tape, disable=True, noise_sampler=other)


def test_memory_layout_and_video_latents():
    x = latent(torch.float32, (2, 4, 8, 8)).to(memory_format=torch.channels_last)
    final, expected, *_ = both(SAMPLERS["sample_euler_ancestral"], wavy, x, sigmas(), mean_plan())
    assert torch.equal(final, expected)
    final, expected, *_ = both(SAMPLERS["sample_dpmpp_2m"], wavy, latent(shape=(1, 2, 3, 4, 6)), sigmas(), mean_plan())
    assert torch.equal(final, expected)


def test_a_partial_sampler_and_a_flow():
    sampler = functools.partial(SAMPLERS["sample_lms"], order=2)
    final, expected, *_ = both(sampler, wavy, latent(scale=1), flow_sigmas(), mean_plan(), path=RectifiedFlow())
    assert torch.equal(final, expected)


def test_the_comparison_notices_a_perturbed_answer():
    """Every sampler depends on each recorded answer: a final from a wrong one is not the plain call's."""
    for name, i in itertools.product(("sample_euler", "sample_dpmpp_2m"), (0, 2)):
        tape = preview(SAMPLERS[name], wavy, latent(), sigmas(), mean_plan(), disable=True).tape
        tape.outputs[i][0, 0, 0, 0] += 1e-3
        with pytest.raises(TapeError, match="state at the switch"):
            finish(SAMPLERS[name], wavy, tape, disable=True)
