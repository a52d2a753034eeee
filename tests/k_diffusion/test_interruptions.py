"""Exceptions, Ctrl-C, callbacks and the global random state."""

import copy

import pytest
import torch

from commutant.adapters.k_diffusion import NonFiniteError, UnsupportedError, finish, preview, record
from commutant.commutator import Guidance

from .third_party import sample_in_place
from .worlds import SAMPLERS, Seeing, latent, low_plan, mean_plan, plain, random_state_kept, sigmas, wavy

PLAN = low_plan(3, operator="strided", selection="argmin", guidance=Guidance("exact", 2, 0.1))
# One evaluation per head step, one at the switch, four candidates, two of exact guidance, three further ones.
EVALUATIONS = 3 + 1 + 4 + 2 + 3


class Stopping:
    """A model that raises in its n-th evaluation, and draws random numbers before."""

    def __init__(self, after: int, error: type[BaseException]) -> None:
        self.left, self.error = after, error

    def __call__(self, x, sigma):
        torch.rand(3)
        if self.left == 0:
            raise self.error("stopped")
        self.left -= 1
        return wavy(x, sigma)


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
@pytest.mark.parametrize("after", range(EVALUATIONS))
def test_interrupted_anywhere(after, error):
    x = latent()
    for name in ("sample_euler_ancestral",):
        with random_state_kept(), pytest.raises(error, match="stopped"):
            preview(SAMPLERS[name], Stopping(after, error), x, sigmas(), PLAN, disable=True)
        torch.randn(3)
        assert not torch.overrides._get_current_function_mode_stack()
    assert torch.equal(x, latent())
    plainly = SAMPLERS["sample_euler"](wavy, x, sigmas(), disable=True)
    result = preview(SAMPLERS["sample_euler"], wavy, x, sigmas(), PLAN, disable=True)
    assert torch.equal(finish(SAMPLERS["sample_euler"], wavy, result.tape, disable=True), plainly)


@pytest.mark.parametrize("after", range(EVALUATIONS))
def test_answers_that_are_no_numbers_are_refused_at_once(after):
    asked = []

    def broken(x, sigma):
        asked.append(float(sigma[0]))
        return wavy(x, sigma) * (float("nan") if len(asked) == after + 1 else 1.0)

    with random_state_kept(), pytest.raises(NonFiniteError, match=r"sigma .*float16 overflow"):
        preview(SAMPLERS["sample_euler"], broken, latent(), sigmas(), PLAN, disable=True)
    assert len(asked) == after + 1


def test_a_finish_refuses_them_too():
    result = preview(SAMPLERS["sample_euler"], wavy, latent(), sigmas(), PLAN, disable=True)
    with pytest.raises(NonFiniteError, match="call 4"):
        finish(SAMPLERS["sample_euler"], lambda x, s: wavy(x, s) / 0, result.tape, disable=True)


def test_the_interruption_test_covers_every_evaluation():
    result = preview(SAMPLERS["sample_euler_ancestral"], wavy, latent(), sigmas(), PLAN, disable=True)
    assert result.evaluations.high + result.evaluations.low == EVALUATIONS


@pytest.mark.parametrize("at", [0, 2, 3, 6])
def test_a_callback_that_raises(at):
    def callback(info):
        if info["i"] == at:
            raise KeyboardInterrupt

    with random_state_kept(), pytest.raises(KeyboardInterrupt):
        preview(SAMPLERS["sample_dpmpp_2s_ancestral"], wavy, latent(), sigmas(), mean_plan(), None, callback, True)
    assert not torch.overrides._get_current_function_mode_stack()


def test_an_interrupted_finish_leaves_the_generators_as_found():
    tape = preview(SAMPLERS["sample_euler_ancestral"], wavy, latent(), sigmas(), mean_plan(), disable=True).tape
    before = copy.deepcopy(tape.outputs)
    with random_state_kept(), pytest.raises(KeyboardInterrupt):
        finish(SAMPLERS["sample_euler_ancestral"], Stopping(2, KeyboardInterrupt), tape, disable=True)
    assert all(torch.equal(a, b) for a, b in zip(before, tape.outputs, strict=True))


@pytest.mark.parametrize("name", ["sample_euler", "sample_heun", "sample_dpmpp_2m_sde"])
def test_the_global_generator_is_as_found(name):
    with random_state_kept():
        preview(SAMPLERS[name], wavy, latent(), sigmas(), mean_plan(), disable=True)
        record(SAMPLERS[name], wavy, latent(), sigmas(), 2, disable=True)
    with pytest.raises(AssertionError, match="moved"), random_state_kept():
        plain(SAMPLERS[name], wavy, latent(), sigmas())


@pytest.mark.parametrize("name", ["sample_euler", "sample_heun", "sample_dpmpp_2m"])
def test_callbacks_hear_of_real_steps(name):
    """The head's steps at high resolution, the stage's at low: each once, in the model's coordinates."""
    steps, model = [], Seeing()
    preview(SAMPLERS[name], model, latent(), sigmas(), mean_plan(), None, lambda info: steps.append(info), True)
    assert [info["i"] for info in steps] == list(range(7))
    assert [info["x"].shape[-1] for info in steps] == [8] * 3 + [4] * 4
    asked = {t for _, t in model.asked}
    assert {float(info["sigma"]) for info in steps} <= asked
    for info in steps[4:]:
        assert any(x.shape == info["x"].shape and torch.equal(x, info["x"]) for x, _ in model.asked)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
def test_a_callback_that_changes_the_latent(dtype):
    """Refused in the head, where a replay cannot repeat it; let through afterwards, and in a finish from a record."""

    def masking(step):
        def callback(info):
            if info["i"] == step:
                info["x"].mul_(0.2)

        return callback

    in_place = sample_in_place
    for step in (0, 2):
        mask = masking(step)
        with random_state_kept(), pytest.raises(UnsupportedError, match="changed the latent"):
            preview(in_place, wavy, latent(dtype), sigmas(), mean_plan(), None, mask)
        tape = record(in_place, wavy, latent(dtype), sigmas(), 3, None, mask)
        final = finish(in_place, wavy, tape, callback=mask)
        assert torch.equal(final, plain(in_place, wavy, latent(dtype), sigmas(), callback=mask))
    free = preview(in_place, wavy, latent(dtype), sigmas(), mean_plan())
    masked = preview(in_place, wavy, latent(dtype), sigmas(), mean_plan(), None, masking(4))
    assert not torch.equal(masked.latent, free.latent)


def test_a_finish_calls_back_as_the_plain_run():
    ours, plainly = [], []
    tape = preview(SAMPLERS["sample_euler"], wavy, latent(), sigmas(), mean_plan(), disable=True).tape
    finish(SAMPLERS["sample_euler"], wavy, tape, callback=ours.append, disable=True)
    plain(SAMPLERS["sample_euler"], wavy, latent(), sigmas(), callback=plainly.append)
    assert all(torch.equal(a["x"], b["x"]) for a, b in zip(ours, plainly, strict=True))
    assert all(torch.equal(a["denoised"], b["denoised"]) for a, b in zip(ours, plainly, strict=True))


def test_gradients_are_off_where_the_sampler_has_them_off():
    """Candidates are evaluated outside the sampler, under its own setting."""
    modes = []

    def model(x, sigma):
        modes.append(torch.is_grad_enabled())
        return wavy(x, sigma)

    preview(SAMPLERS["sample_euler"], model, latent(), sigmas(), PLAN, disable=True)
    assert modes == [False] * EVALUATIONS


def test_a_sampler_in_inference_mode(tmp_path):
    euler = SAMPLERS["sample_euler"]

    @torch.inference_mode()
    def sampler(model, x, sigmas, extra_args=None, callback=None, disable=None):
        return euler(model, x, sigmas, extra_args, callback, disable)

    result = preview(sampler, wavy, latent(), sigmas(), PLAN, disable=True)
    expected = preview(euler, wavy, latent(), sigmas(), PLAN, disable=True)
    assert torch.equal(result.latent, expected.latent)
    result.tape.save(tmp_path / "a.tape")
    final = finish(sampler, wavy, result.tape, disable=True)
    assert torch.equal(final, euler(wavy, latent(), sigmas(), disable=True))


def test_the_models_own_random_numbers_are_its_own():
    """A model's draws of the low-resolution shape are not answered with high-resolution noise."""
    seen = []

    def model(x, sigma):
        seen.append((x.shape, torch.randn_like(x)))
        return wavy(x, sigma)

    preview(SAMPLERS["sample_euler"], model, latent(shape=(8, 4, 8, 8)), sigmas(), mean_plan(), disable=True)
    low = torch.cat([noise.flatten() for shape, noise in seen if shape[-1] == 4])
    assert abs(float(low.std()) - 1) < 0.1  # the operator's noise would have 0.5
