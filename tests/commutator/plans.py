"""Plans for tests: of one low-resolution stage, and Hypothesis plans of every kind."""

from typing import Any

from hypothesis import strategies as st

from commutant.commutator import Guidance, Plan, Stage, Stay, Trajectory, Transport, run_stage, stage_times
from commutant.commutator.plan import KINDS, SELECTIONS


def low(head: int = 10, *, scale: Any = 2, steps: int | None = None, operator: str = "mean", **stage: Any) -> Plan:
    """A head and one low-resolution stage."""
    return Plan(head, (Stage(scale, steps, operator, **stage),))


def high(steps: int, order: int = 1) -> Stage:
    """A stage at the final's own resolution."""
    return Stage(1, steps, order=order)


def first_stage(plan: Plan, path: Any, recorded: Trajectory, **options: Any) -> Any:
    """The conversation of a plan's first stage, on the times that follow from the recorded head."""
    stage = plan.stages[0]
    candidates = stage.candidates(plan.scale_before(0))
    move = Transport.of(candidates[0], path, tuple(recorded.state.shape), stage.time) if candidates else Stay()
    times = stage_times(move, recorded.times, recorded.switch, stage.steps)
    return run_stage(stage, candidates, path, recorded, times, **options)


@st.composite
def guidances(draw: Any, *, headless: bool = False) -> Guidance:
    return Guidance(
        draw(st.sampled_from(KINDS)),
        steps=draw(st.integers(1, 12)),
        weight=draw(st.floats(1e-3, 1.0)),
        decay=draw(st.sampled_from(["constant", "linear"])),
        reference="switch" if headless else draw(st.sampled_from(["switch", "last"])),
    )


@st.composite
def stages(draw: Any, *, scales: tuple[str, ...], steps: Any, headless: bool = False, order: int = 1) -> Stage:
    """A stage that changes the resolution to one of `scales`."""
    operator = draw(st.sampled_from(["strided", "mean", "spectral"]))
    allowed = scales if operator == "spectral" else [s for s in scales if "/" not in s]
    return Stage(
        draw(st.sampled_from(allowed)),
        draw(steps),
        operator,
        draw(st.sampled_from(SELECTIONS)) if operator == "strided" else "first",
        draw(st.integers(0, 2**40)),
        draw(st.sampled_from(["matched", "same"])),
        draw(st.none() | guidances(headless=headless)),
        order,
    )


@st.composite
def plans(draw: Any, *, most: int = 8, scales: tuple[str, ...] = ("5/4", "4/3", "3/2", "2", "5/2", "3")) -> Plan:
    """A head of at most `most` steps and one low-resolution stage."""
    head = draw(st.integers(0, most))
    stage = draw(stages(scales=scales, steps=st.none() | st.integers(1, 12), headless=head == 0))
    return Plan(head, (stage,), draw(st.sampled_from(["custom", "käse"])))


@st.composite
def staged_plans(draw: Any, *, most: int = 4) -> Plan:
    """A head of at most `most` steps and several stages: at high resolution, at half of it, at a quarter."""
    head, counts, orders = draw(st.integers(0, most)), st.integers(1, 3), st.sampled_from([1, 2])
    made = [Stage(1, draw(counts), order=draw(orders)) for _ in range(draw(st.integers(0, 2)))]
    if draw(st.booleans()) or not made:
        headless = head == 0 and not made
        made.append(draw(stages(scales=("2",), steps=counts, headless=headless, order=draw(orders))))
        if draw(st.booleans()):
            made.append(Stage(2, draw(counts), None))
        if draw(st.booleans()):
            made.append(draw(stages(scales=("4",), steps=counts, order=draw(orders))))
    return Plan(head, tuple(made))
