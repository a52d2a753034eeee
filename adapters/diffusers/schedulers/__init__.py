"""Schedulers as paths and schedules: which are supported, and how each is read and given other times."""

from .binding import Binding, Continuation, Timetable
from .noise_levels import MINIMUM_STEPS
from .registry import SCHEDULERS, binding_of, draws, settled, steps_of

__all__ = [
    "MINIMUM_STEPS",
    "SCHEDULERS",
    "Binding",
    "Continuation",
    "Timetable",
    "binding_of",
    "draws",
    "settled",
    "steps_of",
]
