"""Commutator-zero guidance: keep the low-resolution trajectory where the high-resolution one said it should be.

All kinds act on the first `steps` model answers after the switch and differ in what they correct and what they cost:

- exact:  the paper's fixed-point correction, `y <- y + w (A u_ref - u(y, t))`, then the model is asked again (one extra
          evaluation per guided step);
- lagged: the same correction of the state without asking again (free; the sampler uses the answer at the old state);
- anchor: the denoised answer is blended towards `A x0hat_ref` (free);
- defect: the commutator measured at the switch is added to the denoised answer (free): the corrected field commutes
          exactly at the switch, as in a multigrid coarse-grid correction.

`A u_ref` and `A x0hat_ref` come from the last high-resolution evaluation of the head (or one at the switch itself).

`u` points from noise to image, as the paper's velocity does, whose time runs from noise (0) to image (1). Models of
FLUX's kind predict `v = noise - image`, so there `u = -v`, and `u = -eps` for a model of the noise: a correction with
the sign of `v` would push the state away from what the high-resolution model saw.
"""

from __future__ import annotations

from dataclasses import dataclass

KINDS = ("exact", "lagged", "anchor", "defect")
REFERENCES = ("switch", "head")


@dataclass(frozen=True)
class Guidance:
    """Which correction, for how many answers after the switch, how strong.

    Args:
        kind: one of "exact", "lagged", "anchor", "defect" (module docstring).
        steps: m, the number of guided steps after the switch, at least 1.
        weight: alpha of the paper for exact and lagged; the first blend or correction weight in (0, 1] for the others.
        decay: "constant", or "linear" (the weight falls to zero after `steps`).
        reference: "switch" evaluates the high-resolution model once more, at the switch (its answer stays on the tape
            and saves the finish one evaluation); "head" takes the last answer of the head, which costs nothing.
    """

    kind: str
    steps: int
    weight: float
    decay: str = "constant"
    reference: str = "switch"

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"guidance kind must be one of {KINDS}, got {self.kind!r}")
        if self.steps < 1:
            raise ValueError(f"guidance steps must be at least 1, got {self.steps}")
        if not 0 < self.weight <= 1:
            raise ValueError(f"guidance weight must lie in (0, 1], got {self.weight}")
        if self.decay not in ("constant", "linear"):
            raise ValueError(f"guidance decay must be 'constant' or 'linear', got {self.decay!r}")
        if self.reference not in REFERENCES:
            raise ValueError(f"guidance reference must be one of {REFERENCES}, got {self.reference!r}")
        if self.kind == "defect" and self.reference != "switch":
            raise ValueError("a defect is measured at the switch: guidance reference must be 'switch'")

    def at(self, step: int) -> float:
        """The weight at the `step`-th answer after the switch (0-based); 0 once guidance is over."""
        if step >= self.steps:
            return 0.0
        return self.weight if self.decay == "constant" else self.weight * (1.0 - step / self.steps)
