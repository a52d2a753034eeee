"""Times of the low-resolution tail."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from commutant.commutator import RectifiedFlow, Transport, VarianceExploding, stage_times
from commutant.operators import BlockMean, StridedSelection

from .worlds import SELECTIONS, SMOOTH, paths, schedules, shifted


def of(operator, path, time="matched") -> Transport:
    return Transport.of(operator, path, (1, 1, 12, 12), time)


def faults(out, moved, count) -> list[str]:
    """What is wrong with a tail of `count` steps over the moved high-resolution times."""
    found = []
    if len(out) != count + 1:
        return ["count"]
    if out[0] != moved[0] or out[-1] != moved[-1]:
        found.append("ends")
    if any(b >= a for a, b in pairwise(out)):
        found.append("order")
    evenly = np.linspace(0, len(moved) - 1, count + 1)
    if not np.allclose(np.interp(evenly, range(len(moved)), moved), out, rtol=1e-12, atol=1e-15):
        found.append("spacing")
    return found


@given(
    path=paths,
    data=st.data(),
    operator=st.sampled_from(SELECTIONS + SMOOTH),
    time=st.sampled_from(["matched", "same"]),
    steps=st.integers(1, 25),
)
def test_a_tail_reads_the_moved_schedule_at_even_indices(path, data, operator, time, steps):
    times = data.draw(schedules(path))
    switch = data.draw(st.integers(0, len(times) - 2))
    transport = of(operator, path, time)
    moved = [transport.time_of(t) for t in times[switch:]]
    assert faults(stage_times(transport, times, switch, steps), moved, steps) == []
    assert stage_times(transport, times, switch, None) == moved
    assert stage_times(transport, times, switch, len(moved) - 1) == moved


def test_the_faults_are_found():
    moved = [0.8, 0.5, 0.3, 0.0]
    assert faults([0.8, 0.5, 0.3, 0.0], moved, 3) == []
    assert faults([0.8, 0.0], moved, 3) == ["count"]
    assert faults([0.8, 0.5, 0.3, 1e-17], moved, 3) == ["ends"]
    assert faults([0.8, 0.5, 0.5, 0.0], moved, 3) == ["order", "spacing"]
    assert faults([0.8, 0.52, 0.3, 0.0], moved, 3) == ["spacing"]


def test_the_end_is_exact_where_interpolation_would_round():
    times = [9.0, 8.1, 7.3, 0.1]
    assert 7.3 + 1.0 * (0.1 - 7.3) != 0.1
    for steps in (1, 2, 4, 5, 7):
        assert stage_times(of(StridedSelection(2), VarianceExploding()), times, 0, steps)[-1] == times[-1]


def test_values_worked_by_hand():
    times = [1.0, 0.8, 0.5, 0.2, 0.0]
    mean = of(BlockMean(2), RectifiedFlow())
    assert stage_times(mean, times, 1, None) == pytest.approx([0.4 / 0.6, 0.25 / 0.75, 0.1 / 0.9, 0.0])
    assert stage_times(of(BlockMean(2), RectifiedFlow(), "same"), times, 1, None) == times[1:]
    assert stage_times(of(StridedSelection(2), RectifiedFlow()), times, 0, 2) == [1.0, 0.5, 0.0]
    assert stage_times(of(StridedSelection(2), RectifiedFlow()), times, 0, 8) == pytest.approx(
        [1.0, 0.9, 0.8, 0.65, 0.5, 0.35, 0.2, 0.1, 0.0]
    )


def test_the_matched_shift_is_a_smaller_shift():
    """Moving a shifted schedule by gain g is shifting by g times the shift: odds multiply."""
    moved = stage_times(of(BlockMean(2), RectifiedFlow()), shifted(8, shift=3.0), 0, None)
    assert moved == pytest.approx(shifted(8, shift=1.5))


@pytest.mark.parametrize("switch", [-1, 4, 5, 100])
def test_refuses_a_switch_outside_the_schedule(switch):
    with pytest.raises(ValueError, match=r"switch step must lie in 0\.\.3 for 4 steps"):
        stage_times(of(BlockMean(2), RectifiedFlow()), shifted(4), switch, None)


@pytest.mark.parametrize("steps", [0, -1])
def test_refuses_an_empty_tail(steps):
    with pytest.raises(ValueError, match="at least one step"):
        stage_times(of(BlockMean(2), RectifiedFlow()), shifted(4), 1, steps)
