"""Images transformed while they form, by unmodified samplers."""

import pytest
import torch

from commutant.adapters.k_diffusion import UnsupportedError, transform
from commutant.commutator import Guidance, RectifiedFlow
from commutant.operators import Affine, BlockMean, Flip, Roll, ShapeError, Translate

from .worlds import ADAPTIVE, CHURNING, FIXED, SAMPLERS, STOCHASTIC, Seeing, flow_sigmas, latent, plain, sigmas, wavy

DETERMINISTIC = [name for name in FIXED if name not in STOCHASTIC]
REARRANGING = [Roll(2, 3), Flip("horizontal"), Flip("vertical")]


def pointwise(x, sigma):
    """Commutes with every rearrangement of pixels."""
    s = sigma.reshape(-1, *[1] * (x.ndim - 1))
    return 0.7 * torch.tanh(x / (1 + s)) + 0.1


def shift_free(x, sigma):
    """Mixes neighbours, and commutes with rolls."""
    return wavy(x, sigma)


@pytest.mark.parametrize("operator", REARRANGING, ids=repr)
@pytest.mark.parametrize("name", DETERMINISTIC)
def test_what_commutes_with_the_model_moves_its_result(name, operator):
    x, levels = latent(), sigmas()
    made = transform(SAMPLERS[name], pointwise, x, levels, operator)
    expected = operator(plain(SAMPLERS[name], pointwise, x, levels))
    assert torch.allclose(made, expected, rtol=0, atol=1e-9)
    assert not torch.allclose(made, plain(SAMPLERS[name], pointwise, x, levels), atol=1e-2)


@pytest.mark.parametrize("at", [0, 1, 6])
def test_a_roll_of_a_model_that_mixes_neighbours(at):
    x, levels, roll = latent(), sigmas(), Roll(2, 3)
    made = transform(SAMPLERS["sample_dpmpp_2m"], shift_free, x, levels, roll, at=at)
    assert torch.allclose(made, roll(plain(SAMPLERS["sample_dpmpp_2m"], shift_free, x, levels)), rtol=0, atol=1e-9)
    flip = Flip("horizontal")  # does not commute with it: the end is the model's own
    made = transform(SAMPLERS["sample_dpmpp_2m"], shift_free, x, levels, flip, at=at, guidance=None)
    assert not torch.allclose(made, flip(plain(SAMPLERS["sample_dpmpp_2m"], shift_free, x, levels)), atol=1e-3)


@pytest.mark.parametrize("name", ["sample_euler", "sample_dpmpp_2m", "sample_heun"])
def test_a_translation_moves_what_was_in_view(name):
    x, levels, right = latent(), sigmas(), Translate(2, 0)
    seen = torch.from_numpy(right.coverage(x.shape) > 0)
    still = plain(SAMPLERS[name], pointwise, x, levels)
    made, other = (transform(SAMPLERS[name], pointwise, x, levels, right, seeds=s) for s in ([0, 1], [2, 3]))
    assert seen.sum() == 8 * 6
    assert torch.allclose(made[..., seen], right(still)[..., seen], rtol=0, atol=1e-9)
    # What comes into view is fresh, by the seed, and the same for the same seed.
    assert not torch.allclose(made[..., ~seen], other[..., ~seen], atol=1e-2)
    assert torch.equal(made, transform(SAMPLERS[name], pointwise, x, levels, right, seeds=[0, 1]))


def test_a_flow_moves_alike():
    x, levels, flip = latent(scale=1.0), flow_sigmas(), Flip("vertical")
    made = transform(SAMPLERS["sample_euler"], pointwise, x, levels, flip, path=RectifiedFlow())
    assert torch.allclose(made, flip(plain(SAMPLERS["sample_euler"], pointwise, x, levels)), rtol=0, atol=1e-9)
    with pytest.raises(ValueError, match="not with pure noise"):
        transform(SAMPLERS["sample_euler"], pointwise, x, levels[1:], flip, path=RectifiedFlow())


def test_guidance_changes_a_turn_and_costs_one_answer():
    x, levels, turn = latent(), sigmas(), Affine.rotation(20, fill="reflect")
    free, guided = Seeing(wavy), Seeing(wavy)
    one = transform(SAMPLERS["sample_euler"], free, x, levels, turn, at=3, guidance=None)
    other = transform(SAMPLERS["sample_euler"], guided, x, levels, turn, at=3, guidance=Guidance("defect", 2, 1.0))
    assert (len(free.asked), len(guided.asked)) == (7, 8)
    assert not torch.allclose(one, other, atol=1e-3)
    assert one.isfinite().all()


@pytest.mark.parametrize("name", STOCHASTIC)
def test_samplers_with_fresh_noise_are_refused_before_the_model_is_asked(name):
    model = Seeing(wavy)
    with pytest.raises(UnsupportedError, match=rf"{name}.* draws fresh noise"):
        transform(SAMPLERS[name], model, latent(), sigmas(), Roll(1, 0))
    assert model.asked == []


@pytest.mark.parametrize("name", CHURNING)
def test_churn_is_fresh_noise(name):
    with pytest.raises(UnsupportedError, match="draws fresh noise"):
        transform(SAMPLERS[name], wavy, latent(), sigmas(), Roll(1, 0), s_churn=5.0)


def test_other_refusals_come_before_the_model_is_asked():
    model = Seeing(wavy)

    def refused(kind, match, operator, name="sample_euler", **options):
        with pytest.raises(kind, match=match):
            transform(SAMPLERS[name], model, latent(), sigmas(), operator, **options)

    refused(UnsupportedError, "dpm_adaptive", Roll(1, 0), ADAPTIVE)
    refused(ValueError, "keeps the size", BlockMean(2))
    refused(ShapeError, "height and width", Translate(9, 0))
    refused(ValueError, "switch step must lie in 0..6", Roll(1, 0), at=7)
    refused(ValueError, "1 seeds for 2 samples", Roll(1, 0), seeds=[3])
    assert model.asked == []
    with pytest.raises(ValueError, match="'anchor' or 'defect'"):
        transform(SAMPLERS["sample_euler"], model, latent(), sigmas(), Roll(1, 0), guidance=Guidance("exact", 1, 1.0))

    def sample_euler_cfg_pp(model, x, sigmas, extra_args=None, callback=None, disable=None):
        raise AssertionError

    with pytest.raises(UnsupportedError, match="cfg_pp"):
        transform(sample_euler_cfg_pp, model, latent(), sigmas(), Roll(1, 0))


def test_every_step_is_told_once_and_generators_stay():
    told = []
    before = torch.get_rng_state()
    transform(SAMPLERS["sample_heun"], wavy, latent(), sigmas(), Roll(1, 0), callback=lambda i: told.append(i["i"]))
    assert told == list(range(7))
    assert torch.equal(torch.get_rng_state(), before)
