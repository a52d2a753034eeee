"""Exact transport by replay: the transported answers carry the low-resolution solver to the transported state."""

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from commutant.commutator import PATHS, PerSample, RectifiedFlow, Transport, euler
from commutant.operators import StridedSelection

from .worlds import SELECTIONS, SIDE, SMOOTH, normal, paths, recorded, relative, same_bits, schedules, seeds

# Of a few Euler steps of unit-sized arrays, relative to the largest entry; the variance preserving path divides the
# state's rounding by alpha >= 0.14 to know the denoised prediction.
TOLERANCE = {"float64": 1e-12, "float32": 1e-3}


def as_library(library: str, dtype: str, array: np.ndarray):
    if library == "numpy":
        return array.astype(dtype)
    torch = pytest.importorskip("torch")
    return torch.tensor(array, dtype=getattr(torch, dtype))


def a_head(path, times, switch, batch, seed, library="numpy", dtype="float64"):
    """A head whose model answers are arbitrary, so that nothing but linearity can carry the replay."""
    draws = [as_library(library, dtype, a) for a in normal(seed, switch + 1, batch, 2, SIDE, SIDE)]
    return recorded(path, times, switch, draws[0] * path.sigma(times[0]), draws[1:])


def the_transport(operator, path, head) -> Transport:
    return Transport.of(operator, path, tuple(head.state.shape), "matched")


def arrivals(operator, path, head):
    """(where the replay arrives, where the transported state is)."""
    transport = the_transport(operator, path, head)
    return euler.replay(transport, path, head), transport.state(head.state, head.times[head.switch])


worlds = {
    "path": paths,
    "data": st.data(),
    "batch": st.integers(1, 3),
    "library": st.sampled_from(["numpy", "torch"]),
    "dtype": st.sampled_from(["float32", "float64"]),
    "seed": seeds,
}


def drawn(data, path, batch, seed, library, dtype):
    times = data.draw(schedules(path))
    switch = data.draw(st.integers(1, len(times) - 2))
    return a_head(path, times, switch, batch, seed, library, dtype)


@pytest.mark.parametrize("operator", SELECTIONS, ids=repr)
@settings(max_examples=15)
@given(**worlds)
def test_replay_through_a_selection_is_exact_to_the_bit(operator, path, data, batch, library, dtype, seed):
    head = drawn(data, path, batch, seed, library, dtype)
    arrived, state = arrivals(operator, path, head)
    assert same_bits(arrived, state)
    assert str(arrived.dtype).endswith(dtype)


@settings(max_examples=25)
@given(choice=st.lists(st.integers(0, 8), min_size=3, max_size=3), **{k: v for k, v in worlds.items() if k != "batch"})
def test_replay_through_a_selection_per_sample_is_exact_to_the_bit(choice, path, data, library, dtype, seed):
    head = drawn(data, path, 3, seed, library, dtype)
    family = StridedSelection.family(3)
    arrived, state = arrivals(PerSample(family, tuple(choice)), path, head)
    assert same_bits(arrived, state)
    for b, k in enumerate(choice):
        assert same_bits(arrived[b], family[k](head.state[b]))


@pytest.mark.parametrize("operator", SMOOTH, ids=repr)
@settings(max_examples=25)
@given(**worlds)
def test_replay_through_a_smooth_operator_arrives_at_the_matched_state(
    operator, path, data, batch, library, dtype, seed
):
    head = drawn(data, path, batch, seed, library, dtype)
    arrived, state = arrivals(operator, path, head)
    assert relative(arrived, state) <= TOLERANCE[dtype]
    assert str(arrived.dtype).endswith(dtype)


@settings(max_examples=25)
@given(path=paths, data=st.data(), operator=st.sampled_from(SMOOTH + SELECTIONS), seed=seeds)
def test_outputs_stand_for_the_reduced_denoised_prediction(path, data, operator, seed):
    head = drawn(data, path, 1, seed, "numpy", "float64")
    transport = the_transport(operator, path, head)
    for x, output, t in zip(head.states, head.outputs, head.times):
        y, low = transport.state(x, t), transport.time_of(t)
        said = path.denoised(transport.output(output, x, t), y, low)
        assert relative(said, operator(path.denoised(output, x, t))) <= 1e-10


@dataclass(frozen=True)
class WrongGain(RectifiedFlow):
    """Broken: transports with the gain's square root."""

    def transport(self, gain, t):
        return super().transport(gain**0.5, t)


SCHEDULES = {
    "rectified-flow": [1.0, 0.9, 0.6, 0.0],
    "variance-exploding": [15.0, 7.0, 2.0, 0.0],
    "variance-preserving": [0.99, 0.8, 0.4, 0.0],
}


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
@pytest.mark.parametrize("operator", [SELECTIONS[1], *SMOOTH], ids=repr)
def test_a_perturbed_answer_is_noticed(path, operator):
    head = a_head(path, SCHEDULES[path.name], 2, 1, 7)
    transport = the_transport(operator, path, head)
    state = transport.state(head.state, head.times[2])
    assert relative(euler.replay(transport, path, head), state) <= 1e-12
    head.outputs[1][..., :] += 1e-6 * normal(8, *head.outputs[1].shape)
    assert relative(euler.replay(transport, path, head), state) > 1e-9


@pytest.mark.parametrize("operator", SMOOTH, ids=repr)
def test_a_wrong_gain_is_noticed(operator):
    for path in PATHS.values():
        head = a_head(path, SCHEDULES[path.name], 2, 1, 7)
        right = the_transport(operator, path, head)
        state = right.state(head.state, head.times[2])
        wrong = Transport(operator, path, right.gain * 1.1)
        assert abs(wrong.time_of(head.times[2]) / right.time_of(head.times[2]) - 1) > 1e-2
        if path.name != "variance-exploding":  # there the state is A x whatever the gain, and only the time tells
            assert relative(euler.replay(wrong, path, head), state) > 1e-3
    head = a_head(RectifiedFlow(), SCHEDULES["rectified-flow"], 2, 1, 7)
    right = the_transport(operator, RectifiedFlow(), head)
    wrong = Transport(operator, WrongGain(), right.gain)
    assert relative(euler.replay(wrong, WrongGain(), head), right.state(head.state, head.times[2])) > 1e-3


def test_replay_at_the_same_time_is_the_state_for_gain_one_only():
    path = RectifiedFlow()
    head = a_head(path, SCHEDULES[path.name], 2, 1, 7)
    reference = normal(9, *head.state.shape)
    for operator, same in ((SELECTIONS[2], True), (SMOOTH[0], False)):
        transport = Transport.of(operator, path, head.state.shape, "same")
        arrived = euler.replay(transport, path, head)
        assert same_bits(arrived, transport.state(head.state, head.times[2], reference)) is same


@given(path=paths, u=st.floats(0.05, 0.9), operator=st.sampled_from(SMOOTH), seed=seeds)
def test_same_time_reduces_the_signal_and_keeps_the_noise_at_unit_variance(path, u, operator, seed):
    """alpha A x0 + sigma A eps / g, from the state and the prediction alone."""
    clean, noise = normal(seed, 2, 2, 1, SIDE, SIDE)
    alpha, sigma = path.alpha(u), path.sigma(u)
    transport = Transport.of(operator, path, clean.shape, "same")
    expected = alpha * operator(clean) + sigma * operator(noise) / transport.gain
    assert transport.time_of(u) == u
    assert relative(transport.state(alpha * clean + sigma * noise, u, clean), expected) <= 1e-10
    assert relative(transport.noise(noise), operator.noise_partner()(noise)) <= 1e-14
