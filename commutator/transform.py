"""Translating, turning and warping a generated image, as a conversation without any framework.

The same plan as a preview's, with an operator that keeps the resolution: a recorded head, a motion (`Motion` in
transport.py), a guided rest on the final's own schedule.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any

from array_api_compat import array_namespace, device

from ..operators import LinearOperator
from .conversation import Evaluate, Request, Trajectory, guided, guided_times
from .path import Path
from .plan import Guidance
from .steps import require_switch
from .transport import Motion


@dataclass(frozen=True)
class Transform:
    """How an image is transformed: by what, from which evaluation on, with which guidance.

    Args:
        operator: keeps the resolution and has a noise partner; on latent cells.
        switch: D, in evaluations: where the recorded run is transformed; what the model has answered by then moves
            along, what it answers later is new. Early: more freedom, plausible new content; late: closer to the
            transformed image.
        guidance: corrections after the switch, scaled by how much of each cell the operator has seen; or None. Its
            reference is the answer at the switch.
        per_step: evaluations per step of the sampler; guidance counts steps.

    Raises ValueError for values outside these.
    """

    operator: LinearOperator
    switch: int
    guidance: Guidance | None = None
    per_step: int = 1

    def __post_init__(self) -> None:
        if self.switch < 0:
            raise ValueError(f"switch must not be negative, got {self.switch}")
        if self.guidance is not None and self.guidance.reference != "switch":
            raise ValueError("the guidance of a transform needs reference='switch', the answer at its switch")

    @property
    def needs_reference(self) -> bool:
        """Whether the recorded head must hold the answer at the switch itself."""
        return self.guidance is not None

    def evaluation_times(self, times: Sequence[float]) -> list[float]:
        """The times of all `Evaluate` requests that `run` will make, in order."""
        require_switch(times, self.switch)
        return guided_times(self.guidance, times[self.switch :], self.per_step)

    def run(self, path: Path, recorded: Trajectory, seeds: Sequence[int]) -> Generator[Request, Any, None]:
        """Carry a recorded head along the operator and run the rest; `seeds`, one per sample, for fresh noise.

        Raises ValueError where the head was recorded to another evaluation, or as `Motion.of` does.
        """
        motion = Motion.of(self.operator, path, recorded.noise, recorded.times[0], seeds)
        yield from self.run_along(motion, path, recorded)

    def run_along(self, motion: Motion, path: Path, recorded: Trajectory) -> Generator[Request, Any, None]:
        """The same with a motion that is there already. ValueError where the head ends elsewhere."""
        if recorded.switch != self.switch or (self.needs_reference and recorded.reference is None):
            raise ValueError(f"the transform needs a head of {self.switch} evaluations, and the answer after them")
        times = recorded.times[self.switch :]
        y = motion.state(recorded.state, times[0])
        output = yield Evaluate(y, times[0])
        seen, per_step = self._seen(recorded.state), self.per_step
        yield from guided(self.guidance, path, recorded, motion, times, y, output, seen, per_step=per_step)

    def _seen(self, like: Any) -> Any:
        """The operator's coverage beside `like`: guidance has nothing to say about what came into view."""
        seen = self.operator.coverage(like.shape)
        return array_namespace(like).asarray(seen, dtype=like.dtype, device=device(like))


def transform_step(steps: int) -> int:
    """The step that images are transformed at unless said otherwise: 2/5 of the run (docs/manipulation.md)."""
    return round(steps * 2 / 5)


def transform_guidance(steps: int) -> Guidance:
    """The guidance of transforms unless said otherwise: the defect at the switch, fading over a sixth of the run."""
    return Guidance("defect", max(1, round(steps / 6)), 1.0, "linear")
