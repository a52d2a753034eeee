"""Loops that are no function: the stand-in alone, with the user's own code around it."""

from itertools import pairwise

import pytest
import torch

from commutant.adapters.k_diffusion import CommutantDenoiser, UnsupportedError, finish, preview
from commutant.adapters.k_diffusion.rehearsal import Walk
from commutant.commutator import Guidance, RectifiedFlow

from .worlds import (
    DTYPES,
    SAMPLERS,
    Seeing,
    flow_sigmas,
    latent,
    low_plan,
    mean_plan,
    random_state_kept,
    relative,
    sigmas,
    wavy,
)

PLANS = {
    "mean": mean_plan(),
    "strided": low_plan(3, operator="strided", selection="argmin"),
    "exact": mean_plan(guidance=Guidance("exact", 2, 0.1)),
    "defect": mean_plan(guidance=Guidance("defect", 2, 1.0), steps=3),
    "none": mean_plan(head=0),
}


def euler(model, x, levels):
    for now, after in pairwise(levels):
        d = (x - model(x, now * x.new_ones([x.shape[0]]))) / now
        x = x + d * (after - now)
    return x


def own_loop(plan, model=wavy, x=None, levels=None, loop=euler, **options):
    x = latent() if x is None else x
    levels = sigmas() if levels is None else levels
    denoiser = CommutantDenoiser(model, plan, levels, **options)
    with denoiser.head(x):
        loop(denoiser, x, levels)
    with denoiser.stage() as (y, low_levels):
        y = loop(denoiser, y, low_levels)
    return denoiser, denoiser.latent(y)


@pytest.mark.parametrize("plan", PLANS)
def test_a_loop_of_ones_own_is_previewed_as_the_sampler(plan):
    denoiser, low = own_loop(PLANS[plan])
    expected = preview(SAMPLERS["sample_euler"], wavy, latent(), sigmas(), PLANS[plan], disable=True)
    assert relative(low, expected.latent) <= 1e-6  # the sampler's sigmas are float32 there, too, but rounded elsewhere
    assert denoiser.evaluations == expected.evaluations


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_levels_may_be_rounded_to_the_latents_dtype(dtype):
    x = latent(dtype)

    def loop(model, x, levels):
        for now, after in zip(levels[:-1].tolist(), levels[1:].tolist(), strict=True):
            denoised = model(x, x.new_full((2,), now))
            x = denoised + (x - denoised) * (after / now)
        return x

    _, low = own_loop(mean_plan(), x=x, loop=loop)
    assert low.dtype == dtype
    assert low.shape == (2, 3, 4, 4)


def test_two_calls_a_step_with_a_walk():
    def heun(model, x, levels):
        ones = x.new_ones([x.shape[0]])
        for now, after in pairwise(levels):
            d = (x - model(x, now * ones)) / now
            if after > 0:
                probe = x + d * (after - now)
                d = (d + (probe - model(probe, after * ones)) / after) / 2
            x = x + d * (after - now)
        return x

    def walk(levels):
        calls, starts = [], []
        for now, after in zip(levels.tolist(), levels.tolist()[1:], strict=False):
            starts.append(len(calls))
            calls += [now, after] if after > 0 else [now]
        return Walk(tuple(calls), tuple(starts), float(levels[-1]))

    for plan in (mean_plan(), mean_plan(steps=2)):
        _, low = own_loop(plan, loop=heun, walk=walk)
        expected = preview(SAMPLERS["sample_heun"], wavy, latent(), sigmas(), plan, disable=True).latent
        assert relative(low, expected) <= 1e-6


def test_noise_of_the_loop_is_shared_and_the_generator_kept():
    def ancestral(model, x, levels):
        for now, after in pairwise(levels):
            denoised = model(x, now * x.new_ones([x.shape[0]]))
            x = denoised + after * torch.randn_like(x)
        return x

    levels = sigmas()[:5]
    plan = mean_plan(head=2)
    before = torch.get_rng_state()
    final = ancestral(wavy_constant, latent(), levels)
    torch.set_rng_state(before)
    denoiser = CommutantDenoiser(wavy_constant, plan, levels)
    with denoiser.head(latent()):
        ancestral(denoiser, latent(), levels)
    with random_state_kept(), denoiser.stage() as (y, low_levels):
        y = ancestral(denoiser, y, low_levels)
    assert relative(denoiser.latent(y), plan.stages[0].candidates(1)[0](final)) <= 1e-12


def wavy_constant(x, sigma):
    return torch.full_like(x, 0.3)


def test_flow():
    levels = flow_sigmas()
    _, low = own_loop(mean_plan(), x=latent(scale=1), levels=levels, path=RectifiedFlow())
    sampler = SAMPLERS["sample_euler"]
    expected = preview(sampler, wavy, latent(scale=1), levels, mean_plan(), disable=True, path=RectifiedFlow())
    assert relative(low, expected.latent) <= 1e-9


def test_attributes_are_the_models():
    denoiser = CommutantDenoiser(Seeing(), mean_plan(), sigmas())
    assert denoiser.name == "the user's model"
    assert denoiser.plan == mean_plan()
    with pytest.raises(AttributeError):
        _ = denoiser.nothing


def test_misuse_is_named():
    denoiser = CommutantDenoiser(wavy, mean_plan(), sigmas())
    with pytest.raises(RuntimeError, match="answers inside"):
        denoiser(latent(), sigmas()[:1])
    with pytest.raises(RuntimeError, match="record a head first"), denoiser.stage():
        pass
    with pytest.raises(RuntimeError, match="with denoiser"):
        denoiser.latent(latent())
    with pytest.raises(UnsupportedError, match="never switched"), denoiser.head(latent()):
        pass
    with pytest.raises(UnsupportedError, match="expected"):
        own_loop(mean_plan(), loop=lambda model, x, levels: euler(model, x, levels.flip(0)[1:] + 1.0 / x.shape[-1]))
    with pytest.raises(ValueError, match=r"0\.\.6"):
        CommutantDenoiser(wavy, mean_plan(head=9), sigmas())


def test_an_exception_in_a_block_ends_it():
    denoiser = CommutantDenoiser(wavy, mean_plan(), sigmas())
    with pytest.raises(ZeroDivisionError), denoiser.head(latent()):
        _ = 1 / 0
    _, expected = own_loop(mean_plan())
    with denoiser.head(latent()):
        euler(denoiser, latent(), sigmas())
    with random_state_kept(), pytest.raises(ZeroDivisionError), denoiser.stage():
        _ = 1 / 0
    with denoiser.stage() as (y, levels):
        y = euler(denoiser, y, levels)
    assert torch.equal(denoiser.latent(y), expected)


def test_a_sampler_in_the_blocks_and_its_tape():
    """The blocks around a plain call are what `preview` is; its tape comes from there."""
    result = preview(SAMPLERS["sample_euler"], wavy, latent(), sigmas(), mean_plan(), disable=True)
    denoiser = CommutantDenoiser(wavy, mean_plan(), sigmas())
    with denoiser.head(latent()):
        SAMPLERS["sample_euler"](denoiser, latent(), sigmas(), disable=True)
    assert denoiser.recording is not None
    recorded = zip(denoiser.recording.outputs, result.tape.outputs, strict=True)
    assert all(torch.equal(a, b) for a, b in recorded)
    assert torch.equal(finish(SAMPLERS["sample_euler"], wavy, result.tape, disable=True), euler_final())


def euler_final():
    return SAMPLERS["sample_euler"](wavy, latent(), sigmas(), disable=True)
