"""The node *Transform Sampler*."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from .conditions import CELL
from .moving import FLIPS, movement_operator, moving
from .refusals import require_sampler


class TransformSampler(io.ComfyNode):
    """A sampler that makes the same image moved: for SamplerCustomAdvanced, in place of the sampler that made it."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="CommutantTransformSampler",
            display_name="Transform Sampler (commutant)",
            category="sampling/commutant",
            description="The image of the same seed, moved while it forms: what comes into view is the model's own. "
            "For SamplerCustomAdvanced, in place of the sampler that made the image. Flips first, then zooms, turns "
            "and moves.",
            inputs=[
                io.Sampler.Input("sampler"),
                io.Int.Input("right", default=0, min=-8192, max=8192, step=CELL, tooltip="Pixels; negative: left."),
                io.Int.Input("down", default=0, min=-8192, max=8192, step=CELL, tooltip="Pixels; negative: up."),
                io.Float.Input("rotate", default=0.0, min=-360.0, max=360.0, step=0.5, tooltip="Degrees, "
                               "counter-clockwise, about the centre."),
                io.Float.Input("zoom", default=1.0, min=0.1, max=10.0, step=0.05, tooltip="About the centre; above 1 "
                               "magnifies."),
                io.Combo.Input("flip", options=list(FLIPS), default="none"),
                io.Int.Input("at", default=-1, min=-1, max=1000, tooltip="The step at which the image is moved. Early: "
                             "more new content; late: closer to the moved picture; -1: 2/5 of the steps."),
                io.Int.Input("seed", default=0, min=0, max=2**64 - 1, control_after_generate=True, tooltip="Of what "
                             "comes into view."),
            ],
            outputs=[io.Sampler.Output(display_name="sampler")],
        )  # fmt: skip

    @classmethod
    def execute(
        cls, sampler: Any, right: int, down: int, rotate: float, zoom: float, flip: str, at: int, seed: int
    ) -> io.NodeOutput:
        require_sampler(sampler)
        operator = movement_operator(right, down, rotate, zoom, flip).on_cells(CELL)
        return io.NodeOutput(moving(sampler, operator, None if at < 0 else at, seed))
