"""The metrics by name, with what a table needs to know of each."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from .flip import flip
from .fsim import fsim
from .gmsd import gmsd
from .haarpsi import haarpsi
from .pictures import Picture
from .piqe import piqe
from .plain import psnr, sharpness
from .ssim import ms_ssim, ssim

Better = Literal["higher", "lower", "one"]


@dataclass(frozen=True)
class Metric:
    """A number that says how good a picture is.

    Attributes:
        name: as in `METRICS`, a column of a CSV file.
        title: as in the head of a table.
        function: (picture, reference) to a float, or (picture) to a float where no reference is needed.
        better: which way is good; "one" for a ratio that is best at 1.
        reference: whether it compares with a reference.
        about: one line for a legend.
        digits: after the decimal point in a table.
    """

    name: str
    title: str
    function: Callable[..., float]
    better: Better
    reference: bool
    about: str
    digits: int = 4

    def __call__(self, image: Picture, reference: Picture | None = None) -> float:
        """The value for a picture; a reference is ignored where none is needed.

        Raises ValueError without a reference where one is, and as the function does for pictures it cannot take.
        """
        if not self.reference:
            return float(self.function(image))
        if reference is None:
            raise ValueError(f"{self.name} compares with a reference picture, and none was given")
        return float(self.function(image, reference))

    def merit(self, values: np.ndarray | float) -> np.ndarray:
        """Values turned so that higher is better for every metric: negated, or minus |log| of a ratio."""
        values = np.asarray(values, dtype=np.float64)
        if self.better == "one":
            with np.errstate(divide="ignore"):  # a flat picture has no sharpness, and nothing is worse
                return -np.abs(np.log(values))
        return values if self.better == "higher" else -values

    def shown(self, value: float) -> str:
        """The value as a table shows it."""
        return f"{value:.{self.digits}f}"


_ALL = (
    Metric("psnr", "PSNR", psnr, "higher", True, "peak signal-to-noise ratio in dB, capped at 60", 2),
    Metric("ssim", "SSIM", ssim, "higher", True, "structural similarity: local means, contrasts and correlations"),
    Metric("ms_ssim", "MS-SSIM", ms_ssim, "higher", True, "SSIM over as many of five scales as the size allows"),
    Metric("haarpsi", "HaarPSI", haarpsi, "higher", True, "similarity of Haar wavelet coefficients"),
    Metric("fsim", "FSIM", fsim, "higher", True, "similarity of phase congruency, gradients and chroma (FSIMc)"),
    Metric("gmsd", "GMSD", gmsd, "lower", True, "deviation of the similarity of gradients"),
    Metric("flip", "FLIP", flip, "lower", True, "difference seen when alternating, at 67 pixels a degree"),
    Metric("sharpness", "sharpness", sharpness, "one", True, "gradient energy over the reference's; 1 is as sharp", 2),
    Metric("piqe", "PIQE", piqe, "lower", False, "distortion from 0 to 100, seen without a reference", 1),
)
METRICS: dict[str, Metric] = {metric.name: metric for metric in _ALL}


def add_learned(name: str) -> None:
    """Make a learned metric ("lpips", "dists") known by its name for this process.

    Refused by name where its package or weights are not there: nothing is downloaded.
    """
    from .learned import learned

    METRICS[name] = learned(name)


def metrics_named(names: Iterable[str]) -> list[Metric]:
    """Metrics by name, in the order asked for. Raises ValueError for an unknown name."""
    names = list(names)
    unknown = [name for name in names if name not in METRICS]
    if unknown:
        raise ValueError(f"unknown metric {unknown[0]!r}; there are {', '.join(METRICS)}")
    return [METRICS[name] for name in names]


def scores(image: Picture, reference: Picture, metrics: Iterable[Metric] = _ALL) -> dict[str, float]:
    """Every chosen metric of one picture, by name."""
    return {metric.name: metric(image, reference) for metric in metrics}
