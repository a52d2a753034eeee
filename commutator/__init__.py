"""The condition and its use: plans, commutators, fields that are known exactly, and what adapters drive."""

from .condition import (
    commutator,
    commutator_norm,
    convolution_commutator,
    deviation_bound,
    flow_deviation_bound,
    gaussian_commutator,
    sample_norm,
    stationary_commutator,
    two_point_commutator,
)
from .fields import (
    ConvolutionField,
    Field,
    GaussianField,
    GaussianMixtureField,
    PeriodicGaussianField,
    PointwiseField,
    StationaryGaussianField,
)
from .guidance import Guidance
from .manipulation import Manipulation
from .motion import Motion
from .path import PATHS, DenoisedPrediction, Path, RectifiedFlow, VarianceExploding, VariancePreserving
from .plan import Plan
from .presets import DEFAULT_PRESET, PRESETS, preset
from .preview import evaluation_times, evaluations_on, head, shown, tail
from .report import CommutatorReport, SignedRank, commutator_report, commutator_reports, guided_report, signed_rank
from .requests import Advance, Enter, Evaluate, Head, Query
from .schedule import tail_times
from .tape import Tape, TapeError
from .transport import PerSample, Transport

__all__ = [  # noqa: RUF022 - sorted by who reads them
    # Plans and presets: what a preview or a manipulation does.
    "DEFAULT_PRESET",
    "Guidance",
    "Manipulation",
    "PRESETS",
    "Plan",
    "preset",
    # The condition: commutators of a field, measured and tested, and what they bound.
    "CommutatorReport",
    "SignedRank",
    "commutator",
    "commutator_norm",
    "commutator_report",
    "commutator_reports",
    "deviation_bound",
    "flow_deviation_bound",
    "guided_report",
    "sample_norm",
    "signed_rank",
    # Fields and the closed forms of their commutators.
    "ConvolutionField",
    "Field",
    "GaussianField",
    "GaussianMixtureField",
    "PeriodicGaussianField",
    "PointwiseField",
    "StationaryGaussianField",
    "convolution_commutator",
    "gaussian_commutator",
    "stationary_commutator",
    "two_point_commutator",
    # For adapters: the paths of models and the transport on them.
    "DenoisedPrediction",
    "Motion",
    "PATHS",
    "Path",
    "PerSample",
    "RectifiedFlow",
    "Transport",
    "VarianceExploding",
    "VariancePreserving",
    # For adapters: the conversation with a sampler, and its tape.
    "Advance",
    "Enter",
    "Evaluate",
    "Head",
    "Query",
    "Tape",
    "TapeError",
    "evaluation_times",
    "evaluations_on",
    "head",
    "shown",
    "tail",
    "tail_times",
]
