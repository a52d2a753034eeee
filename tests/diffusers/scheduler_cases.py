"""The scheduler configurations under test, by the name they have in the support table."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import diffusers

from .tiny_unet import SCHEDULE

LEADING = {**SCHEDULE, "timestep_spacing": "leading", "steps_offset": 1}
FLOW = {"use_flow_sigmas": True, "prediction_type": "flow_prediction", "flow_shift": 3.0}
ZERO_SNR = {**SCHEDULE, "timestep_spacing": "trailing", "rescale_betas_zero_snr": True}


@dataclass(frozen=True)
class SchedulerCase:
    """One configuration.

    Attributes:
        call: arguments of the pipeline's call that belong to it.
        pooled: whether the transport keeps the coefficients of its steps, so that pooled heads replay, too.
        tolerance: of that replay in float32, relative to the largest value.
        even_strides: whether a tail of other strides than the head's starts afresh.
    """

    name: str
    kind: str
    config: dict[str, Any] = field(default_factory=dict)
    call: dict[str, Any] = field(default_factory=dict)
    pooled: bool = True
    tolerance: float = 1e-5
    even_strides: bool = False

    def make(self) -> Any:
        return getattr(diffusers, self.kind)(**self.config)

    def __str__(self) -> str:
        return self.name


def _case(name: str, kind: str, config: dict[str, Any] | None = None, **rest: Any) -> SchedulerCase:
    return SchedulerCase(name, f"{kind}Scheduler", LEADING if config is None else config, **rest)


CASES = (
    _case("Euler", "EulerDiscrete"),
    _case("Euler, Karras levels", "EulerDiscrete", {**SCHEDULE, "use_karras_sigmas": True}),
    _case(
        "Euler, v prediction, zero SNR",
        "EulerDiscrete",
        {**ZERO_SNR, "prediction_type": "v_prediction"},
        tolerance=2e-4,
    ),
    _case("Euler ancestral", "EulerAncestralDiscrete"),
    _case("Heun", "HeunDiscrete"),
    _case("KDPM2", "KDPM2Discrete"),
    _case("KDPM2 ancestral", "KDPM2AncestralDiscrete"),
    _case("LMS", "LMSDiscrete"),
    _case("DPM-Solver++ 2M", "DPMSolverMultistep"),
    _case("DPM-Solver++ 2M, Karras levels", "DPMSolverMultistep", {**SCHEDULE, "use_karras_sigmas": True}),
    _case("DPM-Solver++ 3M", "DPMSolverMultistep", {**LEADING, "solver_order": 3}),
    _case("DPM-Solver++ 2M SDE", "DPMSolverMultistep", {**LEADING, "algorithm_type": "sde-dpmsolver++"}),
    _case("DPM-Solver++ 2S", "DPMSolverSinglestep", SCHEDULE),
    _case("DPM-Solver++ 3S", "DPMSolverSinglestep", {**SCHEDULE, "solver_order": 3}),
    _case("UniPC", "UniPCMultistep"),
    _case("DEIS", "DEISMultistep"),
    _case("SA-Solver", "SASolver"),
    _case("DDIM", "DDIM", {**LEADING, "clip_sample": False, "set_alpha_to_one": False}),
    _case("DDIM, eta 0.5", "DDIM", {**LEADING, "clip_sample": False}, call={"eta": 0.5}),
    _case(
        "DDIM, v prediction, zero SNR",
        "DDIM",
        {**ZERO_SNR, "clip_sample": False, "prediction_type": "v_prediction"},
        # Its stride, 1000 // steps, rounds down: with trailing timesteps a state lies up to one timestep off its level.
        tolerance=1e-2,
    ),
    _case("DDPM", "DDPM", {**LEADING, "clip_sample": False}),
    _case("PNDM", "PNDM", {**LEADING, "skip_prk_steps": True}, even_strides=True),
    _case("LCM", "LCM", SCHEDULE),
    _case("TCD", "TCD", SCHEDULE),
    _case("TCD, eta 0.3", "TCD", SCHEDULE, call={"eta": 0.3}),
)
FLOWS = (
    SchedulerCase("FlowMatchEuler", "FlowMatchEulerDiscreteScheduler", {"shift": 3.0}),
    SchedulerCase("FlowMatchHeun", "FlowMatchHeunDiscreteScheduler", {"shift": 3.0}, pooled=False),
    SchedulerCase("DPM-Solver++ 2M, flow levels", "DPMSolverMultistepScheduler", FLOW),
    SchedulerCase("DPM-Solver++ 2S, flow levels", "DPMSolverSinglestepScheduler", FLOW),
    SchedulerCase("UniPC, flow levels", "UniPCMultistepScheduler", FLOW),
    SchedulerCase("DEIS, flow levels", "DEISMultistepScheduler", FLOW, tolerance=1e-3),
)
REFUSED = (
    _case("DPM-Solver SDE (Brownian tree)", "DPMSolverSDE", SCHEDULE),
    _case("DDIM, clip_sample", "DDIM", {**LEADING, "clip_sample": True}),
    _case("PNDM, Runge-Kutta steps", "PNDM", LEADING),
    _case("DPM-Solver++, thresholding", "DPMSolverMultistep", {**LEADING, "thresholding": True}),
    _case("EDM Euler", "EDMEuler", {}),
)
