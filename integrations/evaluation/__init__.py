"""How good a preview is: metrics of pictures, what a pick by previews is worth, statistics, and pictures of all.

Arrays in, numbers out; no framework. matplotlib and PIL are imported where something is drawn.
"""

from __future__ import annotations

from .clip import ClipScore
from .metrics import METRICS, Metric, metrics_named, scores
from .metrics.flip import flip
from .metrics.fsim import fsim, phase_congruency
from .metrics.gmsd import gmsd
from .metrics.haarpsi import haarpsi
from .metrics.learned import learned
from .metrics.pictures import Picture, area_reduced, array
from .metrics.piqe import piqe
from .metrics.plain import psnr, sharpness
from .metrics.ssim import ms_ssim, ms_ssim_scales, ssim
from .picking import LinearTastes, Picks, Rung, Scorer, kendall_tau, ladder, picks, scored, spend
from .plots import Point, pareto, plot_frontier
from .statistics import Interval, PairedDifference, compare, mean_interval, paired_interval
from .strips import strip

__all__ = [
    "METRICS",
    "ClipScore",
    "Interval",
    "LinearTastes",
    "Metric",
    "PairedDifference",
    "Picks",
    "Picture",
    "Point",
    "Rung",
    "Scorer",
    "area_reduced",
    "array",
    "compare",
    "flip",
    "fsim",
    "gmsd",
    "haarpsi",
    "kendall_tau",
    "ladder",
    "learned",
    "mean_interval",
    "metrics_named",
    "ms_ssim",
    "ms_ssim_scales",
    "paired_interval",
    "pareto",
    "phase_congruency",
    "picks",
    "piqe",
    "plot_frontier",
    "psnr",
    "scored",
    "scores",
    "sharpness",
    "spend",
    "ssim",
    "strip",
]
