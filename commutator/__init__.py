"""The condition and its use: fields, commutators, reports, transport, selection, guidance, the plan and the tape."""

from .along import along
from .bound import deviation_bound, flow_deviation_bound
from .closed_forms import (
    convolution_commutator,
    gaussian_commutator,
    stationary_commutator,
    two_point_commutator,
)
from .condition import commutator, commutator_norm, sample_norm
from .conversation import Advance, Enter, Evaluate, Head, Query, evaluation_times, evaluations_on, head, shown, tail
from .fields import (
    ConvolutionField,
    Field,
    GaussianField,
    GaussianMixtureField,
    PeriodicGaussianField,
    PointwiseField,
    StationaryGaussianField,
)
from .path import PATHS, DenoisedPrediction, Path, RectifiedFlow, VarianceExploding, VariancePreserving
from .plan import DEFAULT_PRESET, PRESETS, Guidance, Plan, preset
from .report import CommutatorReport, measure, measure_each
from .signed_rank import SignedRank, signed_rank
from .steps import tail_times
from .tape import Tape, TapeError
from .transform import Manipulation
from .transport import Motion, PerSample, Transport

__all__ = [
    "DEFAULT_PRESET",
    "PATHS",
    "PRESETS",
    "Advance",
    "CommutatorReport",
    "ConvolutionField",
    "DenoisedPrediction",
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
    "PeriodicGaussianField",
    "Plan",
    "PointwiseField",
    "Query",
    "RectifiedFlow",
    "SignedRank",
    "StationaryGaussianField",
    "Tape",
    "TapeError",
    "Transport",
    "VarianceExploding",
    "VariancePreserving",
    "along",
    "commutator",
    "commutator_norm",
    "convolution_commutator",
    "deviation_bound",
    "evaluation_times",
    "evaluations_on",
    "flow_deviation_bound",
    "gaussian_commutator",
    "head",
    "measure",
    "measure_each",
    "preset",
    "sample_norm",
    "shown",
    "signed_rank",
    "stationary_commutator",
    "tail",
    "tail_times",
    "two_point_commutator",
]
