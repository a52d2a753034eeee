"""The condition and its use: fields, commutators, transport, selection, guidance, the plan and the tape."""

from .condition import commutator, commutator_norm, sample_norm
from .fields import Field, GaussianField, GaussianMixtureField, StationaryGaussianField
from .guidance import Guidance
from .path import PATHS, DenoisedPrediction, Path, RectifiedFlow, VarianceExploding, VariancePreserving
from .plan import Plan
from .presets import DEFAULT_PRESET, PRESETS, preset
from .preview import Advance, Enter, Evaluate, Head, Query, evaluation_times, head, tail
from .schedule import tail_times
from .tape import Tape, TapeError
from .transport import PerSample, Transport

__all__ = [
    "DEFAULT_PRESET",
    "PATHS",
    "PRESETS",
    "Advance",
    "DenoisedPrediction",
    "Enter",
    "Evaluate",
    "Field",
    "GaussianField",
    "GaussianMixtureField",
    "Guidance",
    "Head",
    "Path",
    "PerSample",
    "Plan",
    "Query",
    "RectifiedFlow",
    "StationaryGaussianField",
    "Tape",
    "TapeError",
    "Transport",
    "VarianceExploding",
    "VariancePreserving",
    "commutator",
    "commutator_norm",
    "evaluation_times",
    "head",
    "preset",
    "sample_norm",
    "tail",
    "tail_times",
]
