"""Particles with density: against a loop, white over many steps, and without the known faults."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from laws import ALPHA, noise, relative
from operator_cases import flows

from commutant.operators import ShapeError
from commutant.operators.density import DensityWarp
from commutant.operators.noise import generator_of, standard_normal

seeds = st.integers(0, 2**32 - 1)


def by_loop(state, back, ahead, seed):
    """One step, particle by particle; copies take the fresh noise in the order landed, fetched, fresh."""
    height, width = state.weight.shape
    pixels = [(i, j) for i in range(height) for j in range(width)]

    def closest(x, y):
        at = math.floor(y + 0.5), math.floor(x + 0.5)
        return at if at in set(pixels) else None

    copies = []
    for i, j in pixels:
        x, y = j + state.offset[i, j, 0] + ahead[i, j, 0], i + state.offset[i, j, 1] + ahead[i, j, 1]
        at = closest(x, y)
        if at is not None:
            copies.append(((i, j), at, (x - at[1], y - at[0])))
    empty = [at for at in pixels if at not in {target for _, target, _ in copies}]
    fresh = []
    for i, j in empty:
        x, y = j + back[i, j, 0], i + back[i, j, 1]
        at = closest(x, y)
        if at is None:
            fresh.append((i, j))
        else:
            astray = at[1] + state.offset[at][0] - x, at[0] + state.offset[at][1] - y
            copies.append((at, (i, j), tuple(min(max(d, -0.5), 0.5) for d in astray)))
    drawn = list(np.asarray(standard_normal((len(copies) + len(fresh),), seed, like=state.noise)))
    groups = {}
    for k, (source, _, _) in enumerate(copies):
        groups.setdefault(source, []).append(k)
    q, w, offset = np.zeros((height, width)), np.ones((height, width)), np.zeros((height, width, 2))
    for target in pixels:
        arriving = [k for k, copy in enumerate(copies) if copy[1] == target]
        if target in fresh:
            q[target] = drawn[len(copies) + fresh.index(target)]
            continue
        parts = []
        for k in arriving:
            group = groups[copies[k][0]]
            mean = sum(drawn[g] for g in group) / len(group)
            value = state.noise[copies[k][0]] / math.sqrt(len(group)) + drawn[k] - mean
            parts.append((state.weight[copies[k][0]] / len(group), value, copies[k][2]))
        w[target] = sum(p[0] for p in parts)
        q[target] = sum(p[0] * p[1] for p in parts) / math.sqrt(sum(p[0] ** 2 for p in parts))
        offset[target] = [sum(p[0] * p[2][axis] for p in parts) / w[target] for axis in (0, 1)]
    return DensityWarp(q, w, offset)


@given(size=st.tuples(st.integers(1, 4), st.integers(1, 4)), data=st.data(), seed=seeds)
@settings(max_examples=40, deadline=None)
def test_two_steps_by_loop(size, data, seed):
    state = wanted = DensityWarp.start(np.random.default_rng(seed).normal(size=size))
    for k in range(2):
        back, ahead = data.draw(flows(size)), data.draw(flows(size))
        state, wanted = state.step(back, (seed, k), ahead), by_loop(wanted, back, ahead, (seed, k))
        np.testing.assert_allclose(state.noise, wanted.noise, atol=1e-12)
        np.testing.assert_allclose(state.weight, wanted.weight, atol=1e-12)
        np.testing.assert_allclose(state.offset, wanted.offset, atol=1e-12)


def swirl(height, width):
    """A flow that turns, stretches and leaves the image."""
    rows, columns = np.indices((height, width))
    x, y = columns - (width - 1) / 2, rows - (height - 1) / 2
    return np.stack([0.3 * x + 0.4 * y + 0.7, 0.2 * y - 0.4 * x + 0.3 * np.sin(x)], axis=-1)


class Steps:
    """Five steps, as the noise report asks for: noise in, noise out."""

    def __init__(self, rng, flow, step=DensityWarp.step):
        self.rng, self.flow, self.step = rng, flow, step

    def __call__(self, drawn):
        state = DensityWarp.start(drawn)
        for _ in range(5):
            state = self.step(state, self.flow, self.rng)
        return state.noise


@pytest.mark.parametrize("flow", [swirl(12, 12), np.full((12, 12, 2), 0.4), -swirl(12, 12)], ids=["in", "on", "out"])
def test_noise_stays_white_over_several_steps(flow):
    """One fixed seed per flow; a new one would raise a false alarm with probability ALPHA, 1e-5."""
    rng = np.random.default_rng(20240914)
    report = noise(Steps(rng, flow), (12, 12), rng)
    assert report.p > ALPHA, report


def test_the_report_catches_copies_that_are_not_split():
    def fetch(state, flow, rng):
        """Nearest fetch alone, which shows pixels twice where the flow stretches."""
        from commutant.operators import Warp

        return DensityWarp.start(Warp(flow, "nearest", "reflect")(state.noise))

    rng = np.random.default_rng(20240914)
    assert noise(Steps(rng, -swirl(12, 12) / 2, fetch), (12, 12), rng).p < ALPHA


def test_no_flow_keeps_noise():
    x = np.random.default_rng(0).normal(size=(3, 5, 6)).astype(np.float32)
    state = DensityWarp.start(x)
    for k in range(3):
        state = state.step(np.zeros((5, 6, 2)), k)
    np.testing.assert_array_equal(state.noise, x)
    assert state.noise.dtype == np.float32
    assert (state.weight == 1).all()
    assert not state.offset.any()


def test_parts_of_pixels_add_up():
    """Ten steps of 0.29 pixels to the right are three pixels, though each is less than half a pixel."""
    x = np.random.default_rng(0).normal(size=(4, 12))
    state = DensityWarp.start(x)
    for k in range(10):
        state = state.step(np.broadcast_to([-0.29, 0.0], (4, 12, 2)), k)
    np.testing.assert_array_equal(state.noise[:, 6:], x[:, 3:-3])


def test_equal_values_are_not_taken_for_copies():
    """Particles are told apart by their pixel: equal noise values move as any others."""
    state = DensityWarp.start(np.ones((4, 4))).step(np.broadcast_to([1.0, 0.0], (4, 4, 2)), 0)
    np.testing.assert_array_equal(state.noise[:, :3], np.ones((4, 3)))


def test_pixels_from_outside_are_each_their_own():
    """Their sum has the variance of independent values, not 0: 4 sigma of 400 draws."""
    away = np.broadcast_to([99.0, 0.0], (6, 6, 2))
    sums = DensityWarp.start(np.zeros((400, 6, 6))).step(away, 0).noise.sum(axis=(-2, -1)) / 6
    assert np.var(sums) == pytest.approx(1, abs=4 * math.sqrt(2 / 400))


def test_torch_takes_the_same_steps():
    torch = pytest.importorskip("torch")
    x = np.random.default_rng(0).normal(size=(2, 6, 6)).astype(np.float32)
    ours, theirs = DensityWarp.start(x), DensityWarp.start(torch.tensor(x))
    for k in range(3):
        ours, theirs = ours.step(swirl(6, 6), k), theirs.step(torch.tensor(swirl(6, 6)), k)
    assert relative(theirs.noise, ours.noise) < 1e-6
    generator = generator_of(5)
    assert relative(ours.step(swirl(6, 6), generator).noise, ours.step(swirl(6, 6), generator).noise) > 0.1


def test_refusals():
    state = DensityWarp.start(np.zeros((4, 5)))
    with pytest.raises(ValueError, match=r"flow must be of shape \(4, 5, 2\) here, not \(5, 4, 2\)"):
        state.step(np.zeros((5, 4, 2)), 0)
    with pytest.raises(ValueError, match="forward must be finite"):
        state.step(np.zeros((4, 5, 2)), 0, np.full((4, 5, 2), np.nan))
    with pytest.raises(ShapeError, match="height and a width"):
        DensityWarp.start(np.zeros(4))
    with pytest.raises(TypeError, match="real floating"):
        DensityWarp.start(np.zeros((4, 4), dtype=int))
