"""The speed benchmarks compare like with like: every rival computes what the operator does; a wrong one is found."""

import dataclasses

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from commutant.benchmarks.noise_warp import looped  # noqa: E402
from commutant.benchmarks.operators import agree, bytes_moved, timed  # noqa: E402
from commutant.benchmarks.rivals import Case, cases, plain, wavy_flow  # noqa: E402
from commutant.operators import BlockMean, Warp  # noqa: E402

from ..operators import laws  # noqa: E402

CASES = cases((32, 32))
X = torch.randn(1, 3, 2, 32, 32, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_rivals_compute_the_same(case: Case) -> None:
    agree(case, X)


def test_a_rival_that_does_not_is_found() -> None:
    half = next(case for case in CASES if case.name == "BlockMean(2)")
    other = dataclasses.replace(half, rivals={"slice": plain(lambda x: x[..., ::2, ::2])})
    with pytest.raises(AssertionError, match="slice differs"):
        agree(other, X)


def test_timing_returns_one_entry_a_round() -> None:
    half = next(case for case in CASES if case.name == "BlockMean(2)")
    timing = timed(half, X, rounds=3, budget=1e-4)
    assert len(timing.ours) == len(timing.copy) == len(timing.rivals["avg_pool2d"]) == 3
    name, ratio = timing.best()
    assert name == "avg_pool2d"
    assert ratio > 0
    assert bytes_moved(half, X) == X.numel() * 4 * 5 // 4
    assert BlockMean(2)(X).shape == (1, 3, 2, 16, 16)


def test_the_loop_over_particles_is_a_noise_warp() -> None:
    """White, and the same image of the noise as ours: both hold the source's value where the flow copies a cell."""
    rng, flow = np.random.default_rng(0), wavy_flow((24, 24))
    report = laws.noise(lambda x: np.concatenate([looped(part, flow, rng) for part in x]), (1, 24, 24), rng, images=40)
    assert report.p > laws.ALPHA
    noise = rng.standard_normal((2, 24, 24))
    moved = np.broadcast_to([3.0, 0.0], (24, 24, 2))
    ours = Warp(moved).noise_partner()(noise, 0)
    assert np.array_equal(looped(noise, moved, rng)[:, :, :21], noise[:, :, 3:])
    assert np.array_equal(ours[:, :, :21], noise[:, :, 3:])
