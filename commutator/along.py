"""The commutator along a driven plan: does it rise or fall after the switch, with guidance and without?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .conversation import Advance, Conversation, tail
from .euler import drive, euler_step, record
from .fields import Field
from .path import Path
from .plan import Plan
from .report import CommutatorReport
from .transport import Transport

Array = Any

FORMS = ("denoised", "output")


def along(
    plan: Plan, path: Path, field: Field, noise: Array, times: Sequence[float], *, form: str = "denoised"
) -> CommutatorReport:
    """How far the plan's low-resolution run y is from the answers of the high-resolution run x that goes on beside it.

    Both run with Euler steps, x on `times`, y on the matched ones; y_k is the state that the solver leaves at step k,
    after guidance has moved it, and the field is asked anew there. With D the switch, at k = D .. N - 1:

        denoised   A x0hat(x_k, t_k) - x0hat(y_k, t'_k)
        output     the same in the path's own prediction: on a rectified flow with gain 1, A v(x_k, t_k) - v(y_k, t_k)

    At k = D without guidance this is the commutator; later it includes that y has moved away from c A x. The paper's
    statement (arXiv 2604.09227) is that `change(last=m)` rises without guidance and falls with it.
    Raises ValueError for another form, for a plan whose tail leaves the matched schedule, and as `preview` does.
    """
    if form not in FORMS:
        raise ValueError(f"form must be one of {FORMS}, got {form!r}")
    if plan.tail not in (None, len(times) - 1 - plan.switch):
        raise ValueError(f"a tail of {plan.tail} steps has no matched high-resolution times: use tail=None")
    recorded, _, lows = record(plan, path, field, noise, times)
    left: list[Array] = []
    _, _, _, transport = drive(_watched(tail(plan, path, recorded), left), path, field, lows)
    assert isinstance(transport, Transport), "a tail always enters low resolution"

    x, pairs = recorded.state, []
    for k, (y, low) in enumerate(zip(left, lows)):
        t = times[plan.switch + k]
        denoised = field.denoised(x, t)
        output, answer = path.output(denoised, x, t), field.denoised(y, low)
        if form == "denoised":
            pairs.append((transport.operator(denoised), answer))
        else:
            pairs.append((transport.output(output, x, t), path.output(answer, y, low)))
        x = euler_step(path, output, x, t, times[plan.switch + k + 1])
    guided = f", {plan.guidance.kind} guidance" if plan.guidance else ""
    return CommutatorReport.of(f"{plan.name}: {plan.operator}{guided}", times[plan.switch : -1], pairs)


def _watched(conversation: Conversation, left: list[Array]) -> Conversation:
    """The same conversation; the states that the solver leaves are noted."""
    reply: Any = None
    while True:
        try:
            request = conversation.send(reply)
        except StopIteration as stop:
            return stop.value
        if isinstance(request, Advance):
            left.append(request.x)
        reply = yield request
