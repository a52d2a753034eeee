"""The condition and its use: plans, commutators, fields that are known exactly, and what adapters drive."""

from ..errors import TapeError
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
from .conversation import Advance, Enter, Evaluate, Query, Trajectory, evaluation_times, run_head, run_stage, shown
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
from .plan import DEFAULT_PRESET, PRESETS, Guidance, Plan, Stage, preset
from .report import CommutatorReport, SignedRank, commutator_report, commutator_reports, guided_report, signed_rank
from .steps import stage_times
from .tape import Tape
from .transform import Transform, transform_guidance, transform_step
from .transport import Motion, PerSample, Stay, Transport, Transports

__all__ = [  # noqa: RUF022 - sorted by who reads them
    # Plans and presets: what a preview or a transform does.
    "DEFAULT_PRESET",
    "Guidance",
    "PRESETS",
    "Plan",
    "Stage",
    "Transform",
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
    "Stay",
    "Transport",
    "Transports",
    "VarianceExploding",
    "VariancePreserving",
    # For adapters: the conversation with a sampler, and its tape.
    "Advance",
    "Enter",
    "Evaluate",
    "Query",
    "Tape",
    "TapeError",
    "Trajectory",
    "evaluation_times",
    "run_head",
    "run_stage",
    "shown",
    "stage_times",
    "transform_guidance",
    "transform_step",
]
