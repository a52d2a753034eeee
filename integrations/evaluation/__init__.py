"""How good a preview is: metrics of pictures, statistics over prompts and seeds, and pictures of both.

Arrays in, numbers out; no framework. matplotlib and PIL are imported where something is drawn.
"""

from __future__ import annotations

from .flip import flip
from .frontier import Point, pareto, plot_frontier
from .fsim import fsim
from .gmsd import gmsd
from .haarpsi import haarpsi
from .learned import learned
from .phase_congruency import phase_congruency
from .pictures import Picture, area_reduced, array
from .piqe import piqe
from .psnr import psnr
from .registry import METRICS, Metric, metrics, scores
from .sharpness import sharpness
from .ssim import ms_ssim, ms_ssim_scales, ssim
from .statistics import Comparison, Interval, compare, mean_interval, paired_interval
from .strips import strip

__all__ = [
    "METRICS",
    "Comparison",
    "Interval",
    "Metric",
    "Picture",
    "Point",
    "area_reduced",
    "array",
    "compare",
    "flip",
    "fsim",
    "gmsd",
    "haarpsi",
    "learned",
    "mean_interval",
    "metrics",
    "ms_ssim",
    "ms_ssim_scales",
    "paired_interval",
    "pareto",
    "phase_congruency",
    "piqe",
    "plot_frontier",
    "psnr",
    "scores",
    "sharpness",
    "ssim",
    "strip",
]
