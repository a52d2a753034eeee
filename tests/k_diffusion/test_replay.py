"""The low-resolution run arrives at the transported state, with the high-resolution run's noise seen through A."""

import pytest
import torch

from commutant.adapters.k_diffusion import preview
from commutant.commutator import Path, Plan, RectifiedFlow, Transport, VarianceExploding
from commutant.operators import BlockMean

from .worlds import (
    CHURNING,
    DTYPES,
    FIXED,
    SAMPLERS,
    STOCHASTIC,
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

# Of a few sampler steps, relative to the largest entry.
TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-5, torch.float16: 2e-2, torch.bfloat16: 1e-1}
PATHS = {"ve": (VarianceExploding(), sigmas, 10.0), "flow": (RectifiedFlow(), flow_sigmas, 1.0)}
TREES = [name for name in STOCHASTIC if "sde" in name]  # slow to build
POOLING = [{"operator": "mean"}, {"operator": "spectral", "scale": "4/3"}]


def constant(x, sigma):
    return torch.full_like(x, 0.3)


def arrival(sampler, plan: Plan, path: Path, levels, dtype=torch.float64, **options):
    """(the sampler's own state at the switch, the transported state), both in the model's coordinates."""
    steps: list[tuple[int, torch.Tensor, float]] = []

    def note(info):
        steps.append((info["x"].clone(), float(info.get("sigma_hat", info["sigma"]))))

    scale = 1.0 if path.name == "rectified-flow" else 10.0
    x = latent(dtype, (2, 3, 12, 12), scale=scale)
    tape = preview(sampler, wavy, x, levels, plan, callback=note, disable=True, path=path, **options).tape
    high = steps[: plan.head]
    assert all(x.shape[-1] == 12 for x, _ in high)
    arrived, moved = steps[plan.head]
    assert arrived.shape[-1] < 12
    transport = Transport.of(plan.stages[0].candidates(1)[0], path, x.shape, plan.stages[0].time)
    back = path.transport(1 / transport.gain, moved)[1]
    return arrived, transport.state(tape.state, back)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", FIXED)
def test_through_a_selection_to_the_bit(name, dtype):
    plan = low_plan(switch_of(name), operator="strided", scale=3)
    arrived, state = arrival(SAMPLERS[name], plan, VarianceExploding(), sigmas(), dtype)
    assert torch.equal(arrived, state)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("name", FIXED)
def test_through_pooling_to_rounding_on_both_paths(name, path):
    the_path, levels, _ = PATHS[path]
    for pooling in POOLING[:1] if name in TREES else POOLING:
        plan = low_plan(switch_of(name), **pooling)
        arrived, state = arrival(SAMPLERS[name], plan, the_path, levels())
        # dpm_fast computes, and announces, its levels in float32 whatever the latent's dtype is.
        assert relative(arrived, state) <= (1e-6 if name == "sample_dpm_fast" else TOLERANCE[torch.float64])


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", ["sample_euler", "sample_dpmpp_2m", "sample_euler_ancestral", "sample_dpmpp_sde"])
def test_through_a_mean_in_every_dtype(name, dtype):
    arrived, state = arrival(SAMPLERS[name], mean_plan(), VarianceExploding(), sigmas(), dtype)
    assert relative(arrived, state) <= TOLERANCE[dtype]


@pytest.mark.parametrize("name", CHURNING)
@pytest.mark.parametrize("operator", ["strided", "mean"])
def test_with_churn_in_a_window_of_sigmas(name, operator):
    """The window is one of high-resolution sigmas; the low-resolution run churns in the same steps."""
    churn = {"s_churn": 3.0, "s_tmin": 0.5, "s_tmax": 8.0, "s_noise": 1.01}
    arrived, state = arrival(SAMPLERS[name], mean_plan(operator=operator), VarianceExploding(), sigmas(), **churn)
    assert relative(arrived, state) <= TOLERANCE[torch.float64]


@pytest.mark.parametrize("name", STOCHASTIC)
def test_noise_is_matched_to_the_end(name):
    """On a schedule that stops early the final still holds noise, and the preview holds A of it."""
    levels = sigmas()[:5]
    before = torch.get_rng_state()
    final = plain(SAMPLERS[name], constant, latent(), levels)
    assert float((final - 0.3).std()) > 0.1
    for switch in (0, 2):
        torch.set_rng_state(before)
        low = preview(SAMPLERS[name], constant, latent(), levels, mean_plan(head=switch), disable=True).latent
        assert relative(low, BlockMean(2)(final)) <= 1e-12
    torch.manual_seed(0)  # the check notices other noise
    assert relative(low, BlockMean(2)(plain(SAMPLERS[name], constant, latent(), levels))) > 0.1


def test_noise_of_a_given_sampler_is_matched():
    def made():
        generator = torch.Generator().manual_seed(5)
        return lambda sigma, sigma_next: torch.randn((2, 3, 8, 8), generator=generator, dtype=torch.float64)

    levels, sampler = sigmas()[:5], SAMPLERS["sample_dpmpp_sde"]
    for switch in (0, 2):
        plan = low_plan(switch, operator="mean")
        low = preview(sampler, constant, latent(), levels, plan, disable=True, noise_sampler=made()).latent
        final = plain(sampler, constant, latent(), levels, noise_sampler=made())
        assert relative(low, BlockMean(2)(final)) <= 1e-12
        twice = made()
        twice(1.0, 0.5)
        assert relative(low, BlockMean(2)(plain(sampler, constant, latent(), levels, noise_sampler=twice))) > 1e-2


@pytest.mark.parametrize("scale", [2, 4])
@pytest.mark.parametrize("name", ["sample_euler", "sample_heun", "sample_dpm_2", "sample_lms", "sample_dpmpp_2m"])
def test_staying_on_the_high_schedule_equals_moving_the_sigmas(name, scale):
    """What the sampler makes of the transported noise on sigmas moved to g sigma."""
    plan = low_plan(0, operator="mean", scale=scale)
    low = preview(SAMPLERS[name], wavy, latent(), sigmas(), plan, disable=True).latent
    moved = plain(SAMPLERS[name], wavy, BlockMean(scale)(latent()), sigmas() / scale)
    assert relative(low, moved) <= 1e-5


def test_the_model_is_asked_at_matched_levels():
    for path, levels, scale in PATHS.values():
        model = Seeing()
        preview(SAMPLERS["sample_euler"], model, latent(scale=scale), levels(), mean_plan(), disable=True, path=path)
        asked = [t for _, t in model.of_width(4)]
        assert asked == pytest.approx([path.transport(0.5, float(t))[1] for t in levels()[3:-1]], rel=1e-6)
        assert [t for _, t in model.of_width(8)] == pytest.approx([float(t) for t in levels()[:3]])
