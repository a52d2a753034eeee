"""The whole way, from noise to a preview and to its finish, with models known exactly."""

from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from commutant.commutator import (
    GaussianField,
    GaussianMixtureField,
    Guidance,
    Plan,
    RectifiedFlow,
    StationaryGaussianField,
    euler,
    preset,
)
from commutant.operators import BlockMean

from .plans import low, plans
from .test_condition import falling
from .worlds import (
    SIDE,
    Counting,
    TwoSizes,
    Wavy,
    highest,
    normal,
    paths,
    relative,
    same_bits,
    schedules,
    seeds,
    shifted,
)

FLOW = RectifiedFlow()


@settings(max_examples=60)
@given(path=paths, data=st.data(), seed=seeds)
def test_a_finish_from_the_recorded_outputs_is_the_plain_run_to_the_bit(path, data, seed):
    times = data.draw(schedules(path))
    plan = data.draw(plans(most=len(times) - 2, scales=("4/3", "2", "3")))
    noise = normal(seed, 2, 1, SIDE, SIDE) * path.sigma(times[0])
    outputs = euler.preview(plan, path, Wavy(), noise, times).head.outputs
    field = Counting(Wavy())
    finished = euler.finish(path, field, noise, times, outputs)
    assert same_bits(finished, euler.finish(path, Wavy(), noise, times))
    assert [t for _, t in field.asked] == times[plan.recorded_steps : -1]


def test_a_finish_from_other_outputs_is_another_image():
    noise, times = normal(1, 1, 1, SIDE, SIDE), shifted(8)
    outputs = euler.preview(low(3), FLOW, Wavy(), noise, times).head.outputs
    plain = euler.finish(FLOW, Wavy(), noise, times)
    nudged = (outputs[0], outputs[1] + 1e-12, *outputs[2:])
    assert not same_bits(euler.finish(FLOW, Wavy(), noise, times, nudged), plain)


def test_one_euler_step_by_hand():
    x, output = np.full((1, 1, 1, 1), 2.0), np.full((1, 1, 1, 1), 0.5)
    assert euler.euler_step(FLOW, output, x, 0.8, 0.6).item() == pytest.approx(2.0 - 0.2 * 0.5)


@given(path=paths, u=st.floats(0.1, 0.95), v=st.floats(0.0, 0.95), seed=seeds)
def test_a_step_keeps_the_predicted_signal_and_noise(path, u, v, seed):
    """x' = alpha' x0hat + sigma' epshat: the definition of DDIM, and of Euler on a straight path."""
    t, t_next = u * highest(path), u * v * highest(path)
    clean, noise = normal(seed, 2, 1, 1, 4, 4)
    x = path.alpha(t) * clean + path.sigma(t) * noise
    stepped = euler.euler_step(path, path.output(clean, x, t), x, t, t_next)
    assert relative(stepped, path.alpha(t_next) * clean + path.sigma(t_next) * noise) <= 1e-9


# -- Fields that commute: every preview is the operator applied to the final. --


def blocks(seed: int, scale: int) -> TwoSizes:
    """A data set of images that are constant on blocks, and the optimal denoisers at both sizes.

    The high-resolution posterior then depends on the block means alone, as -s^2 |A x - alpha m|^2 / (2 sigma^2); the
    low-resolution one at the matched time is -|c A x - c alpha m|^2 / (2 c^2 g^2 sigma^2): the same, since g = 1/s.
    """
    small = normal(seed, 12, 1, SIDE // scale, SIDE // scale)
    large = small.repeat(scale, axis=-1).repeat(scale, axis=-2)
    return TwoSizes(GaussianMixtureField(large), GaussianMixtureField(small), SIDE)


def miss(plan, field, seed, *, batch=3, steps=10) -> float:
    """How far the previews are from the reduced finals, relative."""
    noise, times = normal(seed, batch, 1, SIDE, SIDE), shifted(steps)
    result = euler.preview(plan, FLOW, field, noise, times)
    final = euler.finish(FLOW, field, noise, times, result.head.outputs)
    return relative(result.latent, result.transport.operator(final))


@settings(max_examples=40)
@given(switch=st.integers(0, 8), scale=st.sampled_from([2, 3]), seed=st.integers(0, 10**6))
def test_block_means_of_blocky_images_are_previewed_perfectly(switch, scale, seed):
    assert miss(low(switch, scale=scale), blocks(seed, scale), seed + 1) <= 1e-8


@settings(max_examples=20)
@given(switch=st.integers(0, 8), scale=st.sampled_from(["4/3", "2"]), seed=seeds)
def test_spectral_crops_of_a_stationary_field_are_previewed_perfectly(switch, scale, seed):
    plan = low(switch, operator="spectral", scale=scale)
    assert miss(plan, StationaryGaussianField(falling), seed) <= 1e-9


@settings(max_examples=40)
@given(data=st.data(), seed=seeds)
def test_selections_of_a_pointwise_field_are_previewed_perfectly(data, seed):
    """With every selection rule, and with a defect correction, which then corrects by nothing."""
    switch, selection = (
        data.draw(st.integers(0, 8)),
        data.draw(st.sampled_from(["first", "random", "argmin", "argmax"])),
    )
    guidance = data.draw(st.none() | st.builds(Guidance, st.just("defect"), st.integers(1, 5), st.floats(0.1, 1.0)))
    plan = low(switch, operator="strided", scale=2, selection=selection, guidance=guidance)
    assert miss(plan, GaussianField(0.3, 0.8), seed) <= 1e-9


def test_and_not_where_the_field_does_not_commute():
    assert miss(low(4, time="same"), blocks(1, 2), 2) > 0.05
    assert miss(low(4, operator="strided"), blocks(1, 2), 2) > 0.05
    assert miss(low(4), Wavy(), 2) > 0.05
    assert miss(low(4), GaussianField(0.3, 0.8), 2) > 0.05


# -- The exact optimal flow of a data set, and where previews end. --

SEEDS, IMAGES, STEPS = 40, 60, 20


@cache
def images() -> np.ndarray:
    """Latents 4 x 16 x 16 with the 1/f amplitude spectrum of natural images, at unit variance."""
    white = normal(0, IMAGES, 4, 16, 16)
    frequency = np.fft.fftfreq(16)
    radius = np.hypot(frequency[:, None], frequency[None, :])
    radius[0, 0] = 1 / 16
    coloured = np.fft.ifft2(np.fft.fft2(white) / radius).real
    return coloured / coloured.std()


@cache
def model() -> TwoSizes:
    """Optimal at both sizes; at low resolution of the area-reduced images, as models are trained."""
    return TwoSizes(GaussianMixtureField(images()), GaussianMixtureField(BlockMean(2)(images())), 16)


def nearest(x: np.ndarray, data: np.ndarray) -> np.ndarray:
    return ((x[:, None] - data[None]) ** 2).sum(axis=(2, 3, 4)).argmin(axis=1)


@cache
def finals(shift: float) -> np.ndarray:
    """The image at which the high-resolution run of each seed ends."""
    return nearest(euler.finish(FLOW, model(), normal(1, SEEDS, 4, 16, 16), shifted(STEPS, shift)), images())


def share(plan: Plan, shift: float) -> float:
    """Share of seeds whose preview ends at the same image as the high-resolution run."""
    latent = euler.preview(plan, FLOW, model(), normal(1, SEEDS, 4, 16, 16), shifted(STEPS, shift)).latent
    return float((nearest(latent, BlockMean(2)(images())) == finals(shift)).mean())


@pytest.mark.parametrize(("shift", "switch"), [(1.0, 3), (3.0, 3), (3.0, 6), (3.0, 8)])
def test_matched_block_means_end_where_the_final_ends_more_often_than_strided_ones(shift, switch):
    strided = share(low(switch, operator="strided", time="same"), shift)
    same = share(low(switch, time="same"), shift)
    matched = share(low(switch), shift)
    assert matched >= strided + 0.1
    assert matched >= same + 0.1


def test_a_late_switch_ends_at_the_final_nearly_always():
    assert share(low(8), 3.0) >= 0.9
    assert share(low(11), 3.0) == 1.0
    assert len(set(finals(3.0))) > 10  # the seeds disagree, so agreement means something


def test_the_presets_run_whole():
    noise = normal(1, SEEDS, 4, 16, 16)[:2]
    for name in ("matched", "paper", "naive", "direct"):
        result = euler.preview(preset(name, 12), FLOW, model(), noise, shifted(12))
        assert result.latent.shape == (2, 4, 8, 8)
        assert np.isfinite(result.latent).all()
