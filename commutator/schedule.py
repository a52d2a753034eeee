"""Which times the low-resolution tail visits."""

from __future__ import annotations

from collections.abc import Sequence

from .transport import Transport


def tail_times(transport: Transport, times: Sequence[float], switch: int, steps: int | None) -> list[float]:
    """Times of the low-resolution steps from the switch to the end, both included.

    Args:
        transport: moves high-resolution times to low resolution.
        times: the high-resolution schedule, N + 1 decreasing times that end at the path's clean end (0).
        switch: D, the index in `times` at which the trajectory is carried over.
        steps: number K of low-resolution steps; None keeps one per remaining high-resolution step.

    Returns:
        K + 1 decreasing times. The moved high-resolution schedule is read at K + 1 evenly spaced (fractional) indices,
        so a shorter tail keeps the spacing that the user's scheduler chose.

    Raises:
        ValueError: when `switch` is outside the schedule or `steps` is not positive.
    """
    remaining = len(times) - 1 - switch
    if not 0 <= switch < len(times) - 1:
        raise ValueError(f"the switch step must lie in 0..{len(times) - 2} for {len(times) - 1} steps, got {switch}")
    count = remaining if steps is None else steps
    if count < 1:
        raise ValueError(f"the tail needs at least one step, got {count}")
    moved = [transport.moved(t) for t in times[switch:]]
    if count == remaining:
        return moved
    out = []
    for k in range(count + 1):
        u = k * remaining / count
        i = min(int(u), remaining - 1)
        out.append(moved[i] + (u - i) * (moved[i + 1] - moved[i]))
    return out
