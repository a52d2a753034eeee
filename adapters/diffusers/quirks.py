"""What single pipelines need when they are called at another size than the user's, and states that rule them out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import sqrt
from typing import Any


@dataclass(frozen=True)
class Settings:
    """Changes for a call at a size of ours: call arguments, and attributes of the pipeline for that call only."""

    call: Mapping[str, Any] = field(default_factory=dict)
    attributes: Mapping[str, Any] = field(default_factory=dict)


# From the pipeline, the user's call (height and width included), and the height and width of ours.
Low = Callable[[Any, Mapping[str, Any], int, int], Settings]


def nothing(pipe: Any, call: Mapping[str, Any], height: int, width: int) -> Settings:
    """Height and width are all that the pipeline needs."""
    return Settings()


def same_area(pipe: Any, call: Mapping[str, Any], height: int, width: int) -> Settings:
    """Kontext scales every size to an area of `max_area` pixels."""
    return Settings({"max_area": height * width})


def no_binning(pipe: Any, call: Mapping[str, Any], height: int, width: int) -> Settings:
    """Sana and PixArt replace every size by the nearest that the model was trained on."""
    return Settings({"use_resolution_binning": False})


def one_resolution(pipe: Any, call: Mapping[str, Any], height: int, width: int) -> Settings:
    """Kandinsky 5 replaces every size by the nearest of `pipe.resolutions`."""
    return Settings(attributes={"resolutions": [(width, height)]})


def sample_size(pipe: Any, call: Mapping[str, Any], height: int, width: int) -> Settings:
    """HiDream scales every size to the area of a square of `default_sample_size` cells, rounding sides down."""
    side = sqrt(height * width) / pipe.vae_scale_factor
    return Settings(attributes={"default_sample_size": side * (1 + 1e-7)})


def told_sizes(pipe: Any, call: Mapping[str, Any], height: int, width: int) -> Settings:
    """SDXL tells its model sizes: those of the final at any resolution."""
    final = (call["height"], call["width"])
    return Settings({name: call.get(name) or final for name in ("original_size", "target_size")})


def none(pipe: Any) -> str | None:
    """Any state will do."""
    return None


STATELESS = ("ClassifierFreeGuidance", "TangentialClassifierFreeGuidance")


def guiders(pipe: Any) -> str | None:
    """HunyuanImage combines its predictions in guiders; some remember, or count steps. It can also flow by means."""
    if pipe.transformer.config.get("use_meanflow"):
        return (
            "a mean-flow model is told the time of the next step, which a preview's tail changes; use a model without"
        )
    for name in ("guider", "ocr_guider"):
        guider = getattr(pipe, name, None)
        if guider is None:
            continue
        config = guider.config
        if type(guider).__name__ not in STATELESS or config.get("start", 0.0) != 0.0 or config.get("stop", 1.0) != 1.0:
            return (
                f"pipe.{name} ({type(guider).__name__}) remembers earlier steps or counts them, and a finish does not "
                f"repeat the recorded ones; set pipe.{name} = ClassifierFreeGuidance(guidance_scale=3.5), whole run"
            )
    return None
