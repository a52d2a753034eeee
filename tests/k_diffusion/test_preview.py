"""Previews against the framework-free reference, for every kind of plan; counts, callbacks and refused plans aside."""

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from commutant.adapters.k_diffusion import UnsupportedError, preview
from commutant.commutator import Guidance, Plan, RectifiedFlow, Transport, VarianceExploding, euler

from ..commutator.plans import plans
from .worlds import (
    FIXED,
    SAMPLERS,
    Seeing,
    flow_sigmas,
    latent,
    low_plan,
    mean_plan,
    plain,
    relative,
    sigmas,
    switch_of,
    wavy,
)

GUIDANCE = {
    "anchor": Guidance("anchor", 3, 0.8, "linear"),
    "anchor-head": Guidance("anchor", 2, 0.5, reference="last"),
    "defect": Guidance("defect", 4, 1.0, "linear"),
    "exact": Guidance("exact", 2, 0.1),
    "lagged": Guidance("lagged", 3, 0.1, reference="last"),
}
PATHS = {"ve": (VarianceExploding(), 10.0), "flow": (RectifiedFlow(), 1.0)}
SIDE = {"3": 12, "2": 8, "3/2": 12, "4/3": 8, "5/4": 10, "5/2": 10}


@dataclass
class Field:
    """The model as the reference asks for it."""

    shift: float = 0.1

    def denoised(self, x: Any, t: float) -> Any:
        return wavy(x, torch.full((x.shape[0],), t, dtype=x.dtype), self.shift)


def both(plan: Plan, path_name: str, x: torch.Tensor, steps: int = 9) -> tuple[Any, Any]:
    path, scale = PATHS[path_name]
    levels = (flow_sigmas(steps) if path_name == "flow" else sigmas(steps)).double()
    x = x * scale
    ours = preview(SAMPLERS["sample_euler"], wavy, x, levels, plan, disable=True, path=path)
    return ours, euler.preview(plan, path, Field(), x, levels.tolist())


@settings(deadline=None, max_examples=40)
@given(plan=plans(most=6), path=st.sampled_from(sorted(PATHS)), seed=st.integers(0, 2**31))
def test_sample_euler_agrees_with_the_reference(plan, path, seed):
    side = SIDE[str(plan.scale)]
    x = latent(seed=seed, shape=(2, 2, side, side), scale=1.0)
    transport = Transport.of(plan.stages[0].candidates(1)[0], PATHS[path][0], x.shape, plan.stages[0].time)
    if plan.stages[0].time == "same" and transport.gain != 1 and (plan.head or plan.reference(0)):
        with pytest.raises(UnsupportedError, match="time='matched'"):
            both(plan, path, x)
        return
    ours, reference = both(plan, path, x)
    assert relative(ours.latent, reference.latent) <= 1e-9
    assert (ours.evaluations.high, ours.evaluations.low) == (reference.high_evaluations, reference.low_evaluations)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("kind", GUIDANCE)
def test_guidance_changes_the_preview_as_in_the_reference(kind, path):
    plan = mean_plan(guidance=GUIDANCE[kind])
    ours, reference = both(plan, path, latent(scale=1.0))
    assert relative(ours.latent, reference.latent) <= 1e-9
    free, _ = both(mean_plan(), path, latent(scale=1.0))
    assert relative(free.latent, ours.latent) > 1e-4  # the comparison would notice guidance that does nothing
    weaker = mean_plan(guidance=Guidance(GUIDANCE[kind].kind, 1, 0.01))
    assert relative(both(weaker, path, latent(scale=1.0))[0].latent, reference.latent) > 1e-5


@pytest.mark.parametrize("kind", ["anchor", "defect"])
@pytest.mark.parametrize("name", FIXED)
def test_answers_are_guided_for_every_sampler(name, kind):
    plan = mean_plan(name)
    guided = plan.with_last(guidance=GUIDANCE[kind])
    free = preview(SAMPLERS[name], wavy, latent(), sigmas(), plan, disable=True)
    result = preview(SAMPLERS[name], wavy, latent(), sigmas(), guided, disable=True)
    assert result.evaluations.low == free.evaluations.low
    assert result.evaluations.high == free.evaluations.high + 1
    assert relative(result.latent, free.latent) > 1e-5


def test_states_are_corrected_in_the_samplers_own_latent():
    """Solvers with a history too: a small correction of the state moves the preview in proportion."""
    for name in ("sample_dpmpp_2m", "sample_lms", "sample_euler_ancestral"):
        free = preview(SAMPLERS[name], wavy, latent(), sigmas(), mean_plan(), disable=True).latent
        last = []
        for weight in (1e-3, 2e-3):
            plan = mean_plan(guidance=Guidance("lagged", 1, weight))
            last.append(preview(SAMPLERS[name], wavy, latent(), sigmas(), plan, disable=True).latent - free)
        assert float(last[0].abs().max()) > 1e-7
        assert relative(last[1], 2 * last[0]) < 0.05


@pytest.mark.parametrize("selection", ["argmin", "argmax", "random"])
def test_a_phase_for_every_sample(selection):
    """The preview of a batch is the previews of its samples."""
    plan = low_plan(3, operator="strided", selection=selection)
    x = latent(shape=(4, 1, 8, 8))
    for name in ("sample_euler", "sample_dpmpp_2m"):
        together = preview(SAMPLERS[name], wavy, x, sigmas(), plan, disable=True)
        alone = [preview(SAMPLERS[name], wavy, x[b : b + 1], sigmas(), plan, disable=True).latent for b in range(4)]
        assert relative(together.latent, torch.cat(alone)) <= 1e-12
    naive = preview(SAMPLERS["sample_euler"], wavy, x, sigmas(), plan.with_last(selection="first"), disable=True)
    euler_together = preview(SAMPLERS["sample_euler"], wavy, x, sigmas(), plan, disable=True)
    assert relative(naive.latent, euler_together.latent) > 1e-3
    assert euler_together.evaluations.low == (4 if selection == "random" else 7)


@pytest.mark.parametrize("name", FIXED)
def test_a_stage_of_fewer_steps(name):
    plan = mean_plan(name, steps=2)
    if name == "sample_dpm_fast" or "sde" in name:  # a schedule of its own, or noise seeded for the range of sigmas
        with pytest.raises(UnsupportedError, match="steps=None"):
            preview(SAMPLERS[name], wavy, latent(), sigmas(), plan, disable=True)
        return
    model = Seeing()
    whole = preview(SAMPLERS[name], wavy, latent(), sigmas(), mean_plan(name), disable=True)
    result = preview(SAMPLERS[name], model, latent(), sigmas(), plan, disable=True)
    assert result.evaluations.low < whole.evaluations.low
    assert relative(result.latent, whole.latent) < 1.0


def test_a_stage_of_fewer_steps_with_a_given_tree():
    from .worlds import sampling

    levels = sigmas()
    tree = sampling().BrownianTreeNoiseSampler(latent(), levels[-2], levels[0], seed=3)
    result = preview(
        SAMPLERS["sample_dpmpp_2m_sde"],
        wavy,
        latent(),
        levels,
        mean_plan(steps=2),
        disable=True,
        noise_sampler=tree,
    )
    assert result.evaluations.low == 2


def test_same_time_from_the_start():
    """At switch 0 the unit noise of the operator, on the schedule as it is: the sampler's plain run on it."""
    x = latent()
    plan = low_plan(0, operator="mean", time="same")
    low = preview(SAMPLERS["sample_dpmpp_2m"], wavy, x, sigmas(), plan, disable=True).latent
    noise = Transport.of(plan.stages[0].candidates(1)[0], VarianceExploding(), x.shape, "same").noise(x)
    assert torch.equal(low, plain(SAMPLERS["sample_dpmpp_2m"], wavy, noise, sigmas()))


@pytest.mark.parametrize("name", FIXED)
def test_counts_are_the_calls_made(name):
    model = Seeing()
    plan = low_plan(switch_of(name), operator="strided", selection="argmin", guidance=GUIDANCE["anchor"])
    result = preview(SAMPLERS[name], model, latent(), sigmas(), plan, disable=True)
    assert result.evaluations.high == len(model.of_width(8))
    assert result.evaluations.low == len(model.of_width(4))
    assert result.latent.shape == (2, 3, 4, 4)
