"""The schedulers this adapter drives, as data, and what is refused of them before anything is computed."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from ....commutator import Path, RectifiedFlow
from ...errors import UnsupportedError
from .binding import Binding
from .noise_levels import AncestralMidpoint, FlowLevels, Heun, Midpoint, NoiseLevels, Singlestep
from .tables import Consistency, Multistep, Strided, Table

Array = Any
PREDICTIONS = ("epsilon", "v_prediction")
OTHER_LEVELS = ("use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas", "use_lu_lambdas")


@dataclass(frozen=True)
class TablePath(Path):
    """Time is the noise-to-signal ratio sigma / alpha, in which both conventions of the states meet.

    scaled      x = alpha x_0 + sigma eps,  alpha = 1 / sqrt(1 + t^2),  sigma = t alpha  (variance preserving)
    not scaled  x = x_0 + t eps                                                           (variance exploding)

    The model always sees the scaled state x_s and answers eps or v = alpha eps - sigma x_0 (Salimans & Ho 2022). Runs
    begin at the table's last level with what the scheduler takes for pure noise.
    """

    name = "noise-table"
    towards_image: ClassVar[int] = -1  # eps and v both point to the noise
    starts_with_noise: ClassVar[bool] = True
    prediction: str = "epsilon"
    scaled: bool = True

    def __post_init__(self) -> None:
        if self.prediction not in PREDICTIONS:
            raise ValueError(f"prediction must be one of {PREDICTIONS}, got {self.prediction!r}")

    def alpha(self, t: float) -> float:
        return _alpha(t) if self.scaled else 1.0

    def sigma(self, t: float) -> float:
        return t * self.alpha(t)

    def transport(self, gain: float, t: float) -> tuple[float, float]:
        t = self._checked(gain, t, 0.0, sys.float_info.max)
        moved = gain * t
        return (_alpha(moved) / _alpha(t) if self.scaled else 1.0), moved

    def denoised(self, output: Array, x: Array, t: float) -> Array:
        signal, noise = _alpha(t), t * _alpha(t)
        if self.prediction == "epsilon":
            return x / signal - t * output if self.scaled else x - t * output
        return signal * self._seen(x, t) - noise * output

    def output(self, denoised: Array, x: Array, t: float) -> Array:
        if t <= 0:
            raise ValueError(f"{self.prediction} cannot be recovered from the denoised prediction at noise level 0")
        signal, noise = _alpha(t), t * _alpha(t)
        if self.prediction == "epsilon":
            return (self._seen(x, t) - signal * denoised) / noise
        return (signal * self._seen(x, t) - denoised) / noise

    def _seen(self, x: Array, t: float) -> Array:
        """The scaled state x_s, which the model sees."""
        return x if self.scaled else x * _alpha(t)


class OpenFlow(RectifiedFlow):
    """A rectified flow whose solver steps in log-SNR: its runs begin with pure noise a little below t = 1."""

    starts_with_noise = True


def _never(scheduler: Any) -> bool:
    return False


def _always(scheduler: Any) -> bool:
    return True


def _sde(scheduler: Any) -> bool:
    return str(scheduler.config.algorithm_type).startswith("sde")


@dataclass(frozen=True)
class Entry:
    """One scheduler class.

    Attributes:
        binding: how its solver takes a schedule. scaled: whether its states are variance preserving (where it does
            not use flow levels).
        draws: whether an instance draws fresh noise in `step` with the pipeline's default arguments.
        flow: a rectified flow by nature. ends: whether `sigmas=` given to it hold the end of the run, too.
    """

    binding: Callable[[Any, Path], Binding]
    scaled: bool = True
    draws: Callable[[Any], bool] = _never
    flow: bool = False
    ends: bool = False


SCHEDULERS = {
    "FlowMatchEulerDiscreteScheduler": Entry(FlowLevels, draws=lambda s: s.config.stochastic_sampling, flow=True),
    "FlowMatchHeunDiscreteScheduler": Entry(Heun, flow=True),
    "EulerDiscreteScheduler": Entry(NoiseLevels, scaled=False, ends=True),
    "EulerAncestralDiscreteScheduler": Entry(NoiseLevels, scaled=False, draws=_always),
    "HeunDiscreteScheduler": Entry(Heun, scaled=False),
    "KDPM2DiscreteScheduler": Entry(Midpoint, scaled=False),
    "KDPM2AncestralDiscreteScheduler": Entry(AncestralMidpoint, scaled=False, draws=_always),
    "LMSDiscreteScheduler": Entry(NoiseLevels, scaled=False),
    "DPMSolverMultistepScheduler": Entry(NoiseLevels, draws=_sde),
    "DPMSolverSinglestepScheduler": Entry(Singlestep, draws=_sde),
    "UniPCMultistepScheduler": Entry(NoiseLevels),
    "DEISMultistepScheduler": Entry(NoiseLevels),
    "SASolverScheduler": Entry(NoiseLevels, draws=_always),
    "DDIMScheduler": Entry(Strided),
    "DDPMScheduler": Entry(Table, draws=_always),
    "PNDMScheduler": Entry(Multistep),
    "LCMScheduler": Entry(Table, draws=_always),
    "TCDScheduler": Entry(Consistency),
}
# Refused with the reason; the way out is another value of the flag, or another scheduler.
FLAGS = (
    ("invert_sigmas", True, "runs its times upwards", "False"),
    ("thresholding", True, "clips each image by its own statistics, which no linear operator commutes with", "False"),
    ("clip_sample", True, "clips the predicted image, which no average of pixels commutes with", "False"),
    ("timestep_type", "continuous", "tells its model other times than those of its table", "'discrete'"),
    ("skip_prk_steps", False, "begins with Runge-Kutta steps of four evaluations", "True"),
    ("variance_type", "learned", "takes its noise level from the model", "None"),
    ("variance_type", "learned_range", "takes its noise level from the model", "None"),
)
WHY = {
    "DPMSolverSDEScheduler": "draws its noise from a Brownian tree of its own, tied to the shape of the state; use "
    "DPMSolverMultistepScheduler.from_config(pipe.scheduler.config, algorithm_type='sde-dpmsolver++')",
}


def _alpha(t: float) -> float:
    return 1.0 / math.hypot(1.0, t)


def binding_of(scheduler: Any) -> Binding:
    """The binding of a scheduler; UnsupportedError for one that previews do not follow, with the way out."""
    name = type(scheduler).__name__
    if name in WHY:
        raise UnsupportedError(f"scheduler {name} {WHY[name]}")
    if name not in SCHEDULERS:
        raise UnsupportedError(
            f"scheduler {name} is not supported; supported schedulers: {', '.join(sorted(SCHEDULERS))}; use pipe."
            f"scheduler = {nearest(scheduler)}.from_config(pipe.scheduler.config)"
        )
    entry, config = SCHEDULERS[name], scheduler.config
    for flag, value, why, other in FLAGS:
        if config.get(flag) == value and flag in config:
            raise UnsupportedError(
                f"{name} with {flag}={value!r} {why}, which previews do not follow; set it to {other}: "
                f"pipe.scheduler = {name}.from_config(pipe.scheduler.config, {flag}={other})"
            )
    if config.get("solver_p") is not None:
        raise UnsupportedError(f"{name} with solver_p steps with a second solver, whose history previews do not carry")
    return entry.binding(scheduler, _path(scheduler, entry, name))


def draws(scheduler: Any) -> bool:
    """Whether a supported scheduler draws fresh noise in its steps, with a pipeline's default arguments."""
    return bool(SCHEDULERS[type(scheduler).__name__].draws(scheduler))


def steps_of(scheduler: Any, sigmas: Sequence[float]) -> int:
    """How many steps a supported scheduler makes of the `sigmas=` of a call."""
    return len(sigmas) - int(SCHEDULERS[type(scheduler).__name__].ends)


def settled(component: Any) -> dict[str, Any]:
    """The configuration of a pipeline's component as it is after its first run.

    A single-step DPM-Solver that ends at noise level zero turns `lower_order_final` on when it is given its times.
    """
    config = dict(component.config)
    if type(component).__name__ == "DPMSolverSinglestepScheduler" and config.get("final_sigmas_type") == "zero":
        config["lower_order_final"] = True
    return config


def nearest(scheduler: Any) -> str:
    """A supported scheduler that fits the model of an unsupported one."""
    return "EulerDiscreteScheduler" if hasattr(scheduler, "alphas_cumprod") else "FlowMatchEulerDiscreteScheduler"


def _path(scheduler: Any, entry: Entry, name: str) -> Path:
    other = [flag for flag in OTHER_LEVELS if scheduler.config.get(flag)]
    if not entry.flow and scheduler.config.get("use_flow_sigmas") and other:
        raise UnsupportedError(
            f"{name} with use_flow_sigmas and {other[0]} takes the latter's noise levels, which are none of a flow; "
            f"set one of them only: pipe.scheduler = {name}.from_config(pipe.scheduler.config, {other[0]}=False)"
        )
    flow = entry.flow or bool(scheduler.config.get("use_flow_sigmas"))
    prediction = "flow_prediction" if entry.flow else scheduler.config.prediction_type
    if flow != (prediction == "flow_prediction"):
        raise UnsupportedError(
            f"{name} with prediction_type={prediction!r} and use_flow_sigmas={flow} mixes a flow with a table of noise "
            "levels; set both for a flow-matching model, or neither"
        )
    if flow:
        return RectifiedFlow() if entry.flow else OpenFlow()
    if prediction not in PREDICTIONS:
        raise UnsupportedError(
            f"{name} with prediction_type={prediction!r} is not supported; supported predictions: "
            f"{', '.join(PREDICTIONS)} and flow_prediction"
        )
    return TablePath(prediction, entry.scaled)
