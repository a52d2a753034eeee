"""Plans of every form: coarse stages, several resolutions, live previews, fewer steps, steps of order 2."""

from itertools import pairwise
from pathlib import Path as File

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from commutant.adapters.k_diffusion import CommutantDenoiser, TwoCallPreview, UnsupportedError, finish, preview
from commutant.commutator import (
    Guidance,
    Plan,
    Stage,
    Stay,
    Tape,
    TapeError,
    Transport,
    VarianceExploding,
    euler,
    stage_times,
)
from commutant.operators import BlockMean

from ..commutator.plans import high, staged_plans
from .test_preview import PATHS, Field
from .worlds import (
    DTYPES,
    FIXED,
    SAMPLERS,
    STOCHASTIC,
    Drawing,
    Seeing,
    flow_sigmas,
    latent,
    plain,
    random_state_kept,
    relative,
    sigmas,
    switch_of,
    wavy,
)

DATA = File(__file__).parent / "data"
EULER = SAMPLERS["sample_euler"]
ALONG = [name for name in FIXED if name != "sample_dpm_fast"]  # that one makes a schedule of its own
THREE = Plan(2, (Stage(1, 2), Stage(2, 2, "mean"), Stage(4, 1, "mean")))  # as many steps as a final of seven has


def refused_time(plan: Plan) -> bool:
    """Whether a stage divides signal and noise anew where there is something to repeat."""
    for i in plan.later:
        stage = plan.stages[i]
        pooled = stage.operator in ("mean", "spectral")
        if stage.time == "same" and pooled and (plan.head or i or plan.reference(i)):
            return True
    return False


@settings(deadline=None, max_examples=60)
@given(plan=staged_plans(), path_name=st.sampled_from(sorted(PATHS)), seed=st.integers(0, 2**31))
def test_any_list_of_stages_agrees_with_the_reference(plan, path_name, seed):
    path, scale = PATHS[path_name]
    levels = (flow_sigmas(9) if path_name == "flow" else sigmas(9)).double()
    x = latent(seed=seed, shape=(2, 2, 8, 8), scale=scale)
    if refused_time(plan):
        with pytest.raises(UnsupportedError, match="time='matched'"):
            preview(EULER, wavy, x, levels, plan, disable=True, path=path)
        return
    ours = preview(EULER, wavy, x, levels, plan, disable=True, path=path)
    times = stage_times(Stay(), levels.tolist(), 0, plan.steps) if plan.own_schedule else levels.tolist()
    reference = euler.preview(plan, path, Field(), x, times)
    assert relative(ours.latent, reference.latent) <= 1e-8
    assert (ours.evaluations.high, ours.evaluations.low) == (reference.high_evaluations, reference.low_evaluations)
    assert torch.equal(finish(EULER, wavy, ours.tape, disable=True), plain(EULER, wavy, x, levels))


def test_exact_corrections_are_repeated_in_later_stages():
    """They write to the sampler's state, which no answer can lead to."""
    plan = Plan(2, (Stage(2, 2, "mean", guidance=Guidance("exact", 2, 0.3)), Stage(4, 2, "mean")))
    levels = sigmas().double()
    ours = preview(EULER, wavy, latent(), levels, plan, disable=True).latent
    assert relative(ours, euler.preview(plan, VarianceExploding(), Field(), latent(), levels.tolist()).latent) <= 1e-9
    free = plan.replaced(stages=(plan.stages[0].replaced(guidance=None), plan.stages[1]))
    assert relative(preview(EULER, wavy, latent(), levels, free, disable=True).latent, ours) > 1e-4


@pytest.mark.parametrize("dtype", DTYPES[:3], ids=str)
@pytest.mark.parametrize("name", ALONG)
def test_a_high_stage_of_every_step_left_is_the_plain_call(name, dtype):
    """What it repeats and what it continues, solver history and noise included, is the run that was left."""
    before = torch.get_rng_state()
    for plan in (Plan(3, (Stage(1, 4),)), Plan(2, (Stage(1, 1), Stage(1, 2), Stage(1, 2)))):
        result = preview(SAMPLERS[name], wavy, latent(dtype), sigmas(), plan, disable=True)
        assert torch.equal(torch.get_rng_state(), before)
        expected = plain(SAMPLERS[name], wavy, latent(dtype), sigmas())
        torch.set_rng_state(before)
        assert torch.equal(result.latent, expected)
        assert result.evaluations.low == 0


@pytest.mark.parametrize("name", ["sample_euler", "sample_euler_ancestral", "sample_dpmpp_sde"])
def test_the_models_own_random_numbers_continue_in_later_runs(name):
    before = torch.get_rng_state()
    plan = Plan(2, (Stage(1, 2), Stage(1, 3)))
    made = preview(SAMPLERS[name], Drawing(), latent(), sigmas(), plan, disable=True).latent
    torch.set_rng_state(before)
    assert torch.equal(made, plain(SAMPLERS[name], Drawing(), latent(), sigmas()))


@pytest.mark.parametrize("name", ALONG)
def test_every_sampler_drives_three_resolutions(name):
    steps, model = [], Seeing()
    before = torch.get_rng_state()
    result = preview(SAMPLERS[name], model, latent(), sigmas(), THREE, None, steps.append, True)
    assert result.latent.shape == (2, 3, 2, 2)
    assert result.evaluations.high == len(model.of_width(8))
    assert result.evaluations.low == len(model.of_width(4)) + len(model.of_width(2))
    assert [info["i"] for info in steps] == list(range(7))
    assert [info["x"].shape[-1] for info in steps] == [8] * 4 + [4] * 2 + [2]
    gains = {8: 1.0, 4: 0.5, 2: 0.25}
    assert [float(info["sigma"]) for info in steps] == pytest.approx(
        [gains[info["x"].shape[-1]] * float(t) for info, t in zip(steps, sigmas(), strict=False)], rel=1e-6
    )
    final = finish(SAMPLERS[name], wavy, result.tape, disable=True)
    torch.set_rng_state(before)
    assert torch.equal(final, plain(SAMPLERS[name], wavy, latent(), sigmas()))


def constant(x, sigma):
    return torch.full_like(x, 0.3)


@pytest.mark.parametrize("name", STOCHASTIC)
def test_noise_is_the_same_through_all_stages(name):
    """With answers that commute the preview is A of the plain final, which still holds noise."""
    levels = sigmas()[:6]
    plan = Plan(1, (Stage(1, 1), Stage(2, 2, "mean"), Stage(4, 1, "mean")))
    before = torch.get_rng_state()
    low = preview(SAMPLERS[name], constant, latent(), levels, plan, disable=True).latent
    torch.set_rng_state(before)
    assert relative(low, BlockMean(4)(plain(SAMPLERS[name], constant, latent(), levels))) <= 1e-12


def test_noise_of_a_given_sampler_is_the_same_through_all_stages():
    def made():
        generator = torch.Generator().manual_seed(5)
        return lambda sigma, sigma_next: torch.randn((2, 3, 8, 8), generator=generator, dtype=torch.float64)

    levels, sampler = sigmas()[:6], SAMPLERS["sample_dpmpp_sde"]
    plan = Plan(1, (Stage(1, 1), Stage(2, 2, "mean"), Stage(4, 1, "mean")))
    low = preview(sampler, constant, latent(), levels, plan, disable=True, noise_sampler=made()).latent
    final = plain(sampler, constant, latent(), levels, noise_sampler=made())
    assert relative(low, BlockMean(4)(final)) <= 1e-12


@pytest.mark.parametrize("name", FIXED)
def test_a_live_preview_is_the_denoised_prediction_and_costs_nothing(name):
    head = switch_of(name) + 1
    model, answers = Seeing(), []

    def noted(x, sigma):
        answers.append(model(x, sigma))
        return answers[-1]

    result = preview(SAMPLERS[name], noted, latent(), sigmas(), Plan.live(head), disable=True)
    assert torch.equal(result.latent, answers[-1])
    assert result.tape.recorded == result.evaluations.high == len(answers)
    rest, whole = Seeing(), Seeing()
    before = torch.get_rng_state()
    final = finish(SAMPLERS[name], rest, result.tape, disable=True)
    torch.set_rng_state(before)
    assert torch.equal(final, plain(SAMPLERS[name], whole, latent(), sigmas()))
    assert len(rest.asked) + len(answers) == len(whole.asked)


@pytest.mark.parametrize(
    "name", ["sample_euler", "sample_heun", "sample_dpm_2", "sample_dpmpp_2m", "sample_dpmpp_2s_ancestral"]
)
def test_fewer_steps_are_the_plain_call_on_fewer_sigmas(name):
    sampler, own = SAMPLERS[name], sigmas(5)
    before = torch.get_rng_state()
    result = preview(sampler, wavy, latent(), sigmas(), Plan.fewer(5), disable=True, own_sigmas=own)
    expected = plain(sampler, wavy, latent(), own)
    assert relative(result.latent, expected) <= 1e-5  # the last step, to sigma 0, is taken in float32 sigmas
    torch.set_rng_state(before)
    # Nothing of it is on the final's schedule: the finish is the whole run.
    model = Seeing()
    assert result.tape.recorded == 0
    final = finish(sampler, model, result.tape, disable=True)
    torch.set_rng_state(before)
    whole = Seeing()
    assert torch.equal(final, plain(sampler, whole, latent(), sigmas()))
    assert len(model.asked) == len(whole.asked)


def test_own_steps_are_read_from_the_finals_schedule_unless_given():
    levels = sigmas(8)
    model = Seeing()
    preview(EULER, model, latent(), levels, Plan.fewer(4), disable=True)
    assert [t for _, t in model.asked] == pytest.approx([float(t) for t in levels[:-1:2]])
    model = Seeing()
    preview(EULER, model, latent(), levels, Plan.fewer(4), disable=True, own_sigmas=sigmas(4))
    assert [t for _, t in model.asked] == pytest.approx([float(t) for t in sigmas(4)[:-1]])


def test_a_coarse_stage_and_a_low_one_on_own_steps():
    plan = Plan(0, (Stage(1, 2), Stage(2, 3, "mean")))
    levels, own = sigmas(7).double(), sigmas(5).double()
    ours = preview(EULER, wavy, latent(), levels, plan, disable=True, own_sigmas=own)
    reference = euler.preview(plan, VarianceExploding(), Field(), latent(), own.tolist())
    assert relative(ours.latent, reference.latent) <= 1e-9
    assert torch.equal(finish(EULER, wavy, ours.tape, disable=True), plain(EULER, wavy, latent(), levels))


def test_euler_of_order_2_is_dpmpp_2m():
    levels = sigmas().double()
    for plan in (Plan.fewer(7, 2), Plan(1, (high(6, 2),))):
        ours = preview(EULER, wavy, latent(), levels, plan, disable=True).latent
        assert relative(ours, plain(SAMPLERS["sample_dpmpp_2m"], wavy, latent(), levels)) <= 1e-12
    assert relative(plain(EULER, wavy, latent(), levels), ours) > 1e-3


@pytest.mark.parametrize("name", [name for name in FIXED if name != "sample_euler"])
def test_order_2_is_for_euler_steps(name):
    plan = Plan(switch_of(name), (Stage(2, None, "mean", order=2),))
    with random_state_kept(), pytest.raises(UnsupportedError, match="order=1 with it, or sample_euler"):
        preview(SAMPLERS[name], never, latent(), sigmas(), plan, disable=True)


def never(x, sigma, **extra):
    raise AssertionError("the model was asked")


@pytest.mark.parametrize(
    ("plan", "options", "error", "message"),
    [
        (Plan.live(3, early_switch=0.1), {}, UnsupportedError, "early_switch"),
        (Plan.live(9), {}, ValueError, "0..6"),
        (Plan.live(3), {"own_sigmas": sigmas(3)}, ValueError, "schedule of its own"),
        (Plan.fewer(3), {"own_sigmas": sigmas(4)}, ValueError, "3 steps, own_sigmas have 4"),
        (Plan.fewer(3), {"own_sigmas": sigmas(3) / 2}, ValueError, "begin at 5"),
        (Plan.fewer(3), {"own_sigmas": sigmas(3).flip(0)}, ValueError, "fall"),
        (Plan(1, (Stage(1, 2), Stage(2, 2))), {"s_churn": 2.0}, UnsupportedError, "churn.*steps=None"),
        (Plan(1, (Stage(2, 2), Stage(4, 2, "mean", time="same"))), {}, UnsupportedError, "time='matched'"),
    ],
    ids=str,
)
def test_what_is_refused_before_the_model(plan, options, error, message):
    with random_state_kept(), pytest.raises(error, match=message):
        preview(EULER, never, latent(), sigmas(), plan, disable=True, **options)


def test_two_calls_bind_a_model_to_one_low_resolution():
    calls = TwoCallPreview(THREE)
    calls.high(EULER, wavy, latent(), sigmas(), disable=True)
    with pytest.raises(UnsupportedError, match="2 low resolutions"):
        calls.low(wavy)
    assert torch.equal(calls.low(), preview(EULER, wavy, latent(), sigmas(), THREE, disable=True).latent)
    plan = Plan(2, (Stage(1, 2), Stage(2, 2, "mean"), Stage(2, 1, None)))
    calls, asked = TwoCallPreview(plan), Seeing()
    calls.high(EULER, wavy, latent(), sigmas(), disable=True)
    made = calls.low(asked, {"shift": 0.1})
    assert {x.shape[-1] for x, _ in asked.asked} == {4}
    assert torch.equal(made, preview(EULER, wavy, latent(), sigmas(), plan, disable=True).latent)


def test_a_loop_of_ones_own_in_any_stages():
    def loop(model, x, levels):
        for now, after in pairwise(levels):
            x = x + (x - model(x, now * x.new_ones([x.shape[0]]))) / now * (after - now)
        return x

    for plan in (THREE, Plan.live(3), Plan.fewer(4, 2), Plan(0, (Stage(1, 2, order=2), Stage(2, 3)))):
        denoiser = CommutantDenoiser(wavy, plan, sigmas())
        with denoiser.head(latent()) as (y, levels):
            loop(denoiser, y, levels)
        for _ in plan.later:
            with random_state_kept(), pytest.raises(ZeroDivisionError), denoiser.stage():
                _ = 1 / 0
            with denoiser.stage() as (y, levels):
                y = loop(denoiser, y, levels)
        expected = preview(EULER, wavy, latent(), sigmas(), plan, disable=True)
        assert relative(denoiser.latent(y), expected.latent) <= 1e-6
        assert denoiser.evaluations == expected.evaluations
    with pytest.raises(RuntimeError, match="no further stage"), denoiser.stage():
        pass
    denoiser = CommutantDenoiser(wavy, THREE, sigmas())
    with denoiser.head(latent()) as (y, levels):
        loop(denoiser, y, levels)
    with pytest.raises(UnsupportedError, match="ended before its stage"), denoiser.stage():
        pass
    with pytest.raises(RuntimeError, match="for every stage"):
        denoiser.latent(y)


@pytest.mark.parametrize("after", range(7 + 4))
def test_interrupted_in_any_stage(after):
    plan = Plan(2, (Stage(1, 2), Stage(2, 3, "strided", "argmin")))
    left = [after]

    def model(x, sigma):
        torch.rand(3)
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        return wavy(x, sigma)

    with random_state_kept(), pytest.raises(KeyboardInterrupt):
        preview(SAMPLERS["sample_euler_ancestral"], model, latent(), sigmas(), plan, disable=True)
    assert not torch.overrides._get_current_function_mode_stack()


def test_tapes_of_version_0_1_are_finished():
    """Written by that version's `preview`, with `wavy` on sigmas(7) and a coarse head on sigmas(5)."""
    head = Tape.load(DATA / "version-0.1-head.tape", framework="torch")
    assert head.header["plan"]["switch"] == 3
    plan = Plan.from_dict(head.header["plan"])
    assert (plan.head, plan.steps) == (3, 2)
    model = Seeing()
    made = finish(EULER, model, head, disable=True)
    assert len(model.asked) == 4
    assert torch.allclose(made, plain(EULER, wavy, head.noise, sigmas()), rtol=1e-5, atol=1e-5)
    coarse = Tape.load(DATA / "version-0.1-coarse.tape", framework="torch")
    assert coarse.header["coarse"] is True
    made = finish(EULER, wavy, coarse, sigmas(), disable=True)
    assert torch.allclose(made, plain(EULER, wavy, coarse.noise, sigmas()), rtol=1e-5, atol=1e-5)
    with pytest.raises(ValueError, match="final's sigmas"):
        finish(EULER, never, coarse)
    with pytest.raises(TapeError, match="begins at sigma"):
        finish(EULER, never, coarse, sigmas() * 2)


def test_transport_of_several_parts_is_their_product():
    """The last resolution's sigmas: two block means of two are one of four."""
    calls = TwoCallPreview(THREE)
    calls.high(EULER, wavy, latent(), sigmas(), disable=True)
    whole = Transport.of(BlockMean(4), VarianceExploding(), (2, 3, 8, 8), "matched")
    assert calls.low_levels == pytest.approx([whole.time_of(float(t)) for t in sigmas()])
