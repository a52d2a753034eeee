"""The condition and its use: fields, commutators, transport, selection, guidance, the plan and the tape."""

from .condition import commutator, commutator_norm, sample_norm
from .fields import Field, GaussianField, GaussianMixtureField, StationaryGaussianField
from .guidance import Guidance
from .manipulation import Manipulation
from .motion import Motion
from .path import PATHS, Path, RectifiedFlow, VarianceExploding, VariancePreserving
from .plan import Plan
from .presets import DEFAULT_PRESET, PRESETS, preset
from .preview import evaluation_times, evaluations_on, head, tail
from .requests import Advance, Enter, Evaluate, Head, Query
from .schedule import tail_times
from .tape import Tape, TapeError
from .transport import PerSample, Transport

__all__ = [
    "DEFAULT_PRESET",
    "PATHS",
    "PRESETS",
    "Advance",
    "Enter",
    "Evaluate",
    "Field",
    "GaussianField",
    "GaussianMixtureField",
    "Guidance",
    "Head",
    "Manipulation",
    "Motion",
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
    "evaluations_on",
    "head",
    "preset",
    "sample_norm",
    "tail",
    "tail_times",
]
