"""The node *Preview Sampler*."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ...commutator.plan import DEFAULT_PRESET, PRESETS, preset
from .previewing import preview


class PreviewSampler(io.ComfyNode):
    """Previews a run of SamplerCustomAdvanced, and gives the sampler that finishes it."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="CommutantPreviewSampler",
            display_name="Preview Sampler (commutant)",
            category="sampling/commutant",
            description="A small preview that looks like the full-size image of the same seed, and a sampler that "
            "finishes it: give that to SamplerCustomAdvanced with the same noise, guider, sigmas and latent image.",
            inputs=[
                io.Noise.Input("noise"),
                io.Guider.Input("guider"),
                io.Sampler.Input("sampler"),
                io.Sigmas.Input("sigmas"),
                io.Latent.Input("latent_image"),
                io.Combo.Input("preset", options=list(PRESETS), default=DEFAULT_PRESET),
                io.Int.Input("scale", default=2, min=2, max=8, tooltip="Full size over preview size."),
                io.Int.Input("switch", default=-1, min=-1, max=1000, tooltip="Full-size steps before the preview "
                             "leaves for low resolution; -1: as the preset says."),
                io.Int.Input("tail", default=-1, min=-1, max=1000, tooltip="Low-resolution steps; 0: one for every "
                             "remaining step (SDE samplers need that); -1: as the preset says."),
            ],
            outputs=[
                io.Latent.Output(display_name="preview"),
                io.Sampler.Output(display_name="finish"),
            ],
        )  # fmt: skip

    @classmethod
    def execute(
        cls,
        noise: Any,
        guider: Any,
        sampler: Any,
        sigmas: Any,
        latent_image: Any,
        preset: str,
        scale: int,
        switch: int,
        tail: int,
    ) -> io.NodeOutput:
        plan = _plan(preset, len(sigmas) - 1, scale, switch, tail)
        return io.NodeOutput(*preview(noise, guider, sampler, sigmas, latent_image, plan))


def _plan(name: str, steps: int, scale: int, switch: int, tail: int) -> Any:
    plan = preset(name, steps, scale)
    if switch >= 0:
        plan = plan.replaced(head=switch)
    return plan.with_last(steps=tail or None) if tail >= 0 else plan
