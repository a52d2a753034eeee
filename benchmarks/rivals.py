"""What the operators are timed against: for each, the ways that common libraries offer to the same result."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from commutant.operators import (
    BlockMean,
    Flip,
    FourierCrop,
    FourierShift,
    OrthonormalSum,
    QuarterTurn,
    Resize,
    Roll,
    SpectralCrop,
    StridedSelection,
    Translate,
    Warp,
)

Array = Any


@dataclass(frozen=True)
class Way:
    """A library's way: `prepare(x)` does what is done once and returns the call that is timed."""

    prepare: Callable[[torch.Tensor], Callable[[], Array]]
    tolerance: float = 1e-4  # of the largest value: float32 and other orders of summation

    def bound(self, x: torch.Tensor) -> Callable[[], Array]:
        return self.prepare(x)


@dataclass(frozen=True)
class Case:
    """An operator, its rivals, and the share of the input that has to be read."""

    name: str
    ours: Callable[[torch.Tensor], torch.Tensor]
    rivals: dict[str, Way] = field(default_factory=dict)
    read: float = 1.0


def on_planes(function: Callable[[torch.Tensor], Array]) -> Way:
    """A torch function of (N, C, H, W), whatever the leading dims."""
    return Way(lambda x: (planes := x.reshape(1, -1, *x.shape[-2:]), lambda: function(planes))[1])


def plain(function: Callable[[torch.Tensor], Array]) -> Way:
    return Way(lambda x: lambda: function(x))


def copied(operator: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[torch.Tensor], torch.Tensor]:
    """The operator where its result is a view, made contiguous."""
    return lambda x: operator(x).contiguous()


def cases(size: tuple[int, int]) -> list[Case]:
    """All cases for images of `size`."""
    height, width = size
    half = height // 2, width // 2
    flow = wavy_flow(size)
    grid = torch.from_numpy(sampling_grid(flow)).float()[None]
    found = [
        # A copy, because the selection itself is a view and takes no time at all.
        Case(
            "StridedSelection(2, 3), copied",
            copied(StridedSelection(2, 3)),
            {"torch slice, copied": plain(lambda x: x[..., 1::2, 1::2].contiguous()), "pixel_unshuffle": unshuffled()}
            | pylops_restriction(size),
            read=0.25,
        ),
        Case("BlockMean(2)", BlockMean(2), {"avg_pool2d": on_planes(lambda x: F.avg_pool2d(x, 2))}),
        Case("BlockMean(4)", BlockMean(4), {"avg_pool2d": on_planes(lambda x: F.avg_pool2d(x, 4))}),
        Case(
            "OrthonormalSum(2)", OrthonormalSum(2), {"avg_pool2d, times 2": on_planes(lambda x: F.avg_pool2d(x, 2) * 2)}
        ),
        Case("SpectralCrop.by(2)", SpectralCrop.by(2)),
        Case("FourierCrop.by(2)", FourierCrop.by(2)),
        *[
            Case(f"Resize({half}, {kernel!r})", Resize(half, kernel), {"interpolate": interpolated(half, mode)})
            for kernel, mode in (("area", "area"), ("bilinear", "bilinear"), ("bicubic", "bicubic"))
        ],
        Case(
            f"Resize({(2 * height, 2 * width)}, 'bilinear')",
            Resize((2 * height, 2 * width), "bilinear"),
            {"interpolate": interpolated((2 * height, 2 * width), "bilinear")},
        ),
        Case(f"Resize({half}, 'lanczos')", Resize(half, "lanczos")),
        Case("Roll(5, 3)", Roll(5, 3), {"torch.roll": plain(lambda x: torch.roll(x, (3, 5), (-2, -1)))}),
        Case("Flip('horizontal')", Flip("horizontal"), {"torch.flip": plain(lambda x: torch.flip(x, (-1,)))}),
        Case("QuarterTurn(1), copied", copied(QuarterTurn(1)), {"torch.rot90": turned()}),
        Case("Translate(5, 3)", Translate(5, 3), {"pad, reflect, and slice": on_planes(_padded)}),
        Case("FourierShift(0.5, 0.25)", FourierShift(0.5, 0.25), {"fft2, phase, ifft2": fourier_shifted()}),
        Case("Warp, bilinear", Warp(flow), {"grid_sample": sampled(grid, "bilinear")} | pylops_bilinear(flow)),
        Case("Warp, nearest", Warp(flow, mode="nearest"), {"grid_sample": sampled(grid, "nearest")}),
    ]
    return found


def wavy_flow(size: tuple[int, int]) -> np.ndarray:
    """A smooth flow, (height, width, 2) in pixels, that stays inside the image."""
    rows, columns = np.mgrid[0 : size[0], 0 : size[1]]
    across, down = columns / (size[1] - 1), rows / (size[0] - 1)
    dx = size[1] / 40 * np.sin(2 * np.pi * across) * np.cos(np.pi * down) ** 2
    dy = size[0] / 50 * np.sin(2 * np.pi * down) * np.cos(np.pi * across) ** 2
    return np.stack([dx, dy], axis=-1)


def sampling_grid(flow: np.ndarray) -> np.ndarray:
    """The flow as `grid_sample` wants it: normalised positions, align_corners=False."""
    height, width = flow.shape[:2]
    rows, columns = np.mgrid[0:height, 0:width]
    x, y = columns + flow[..., 0], rows + flow[..., 1]
    return np.stack([(2 * x + 1) / width - 1, (2 * y + 1) / height - 1], axis=-1)


def unshuffled() -> Way:
    """All four selections at once is what pixel_unshuffle gives; the one that was asked for is a slice of it."""
    return on_planes(lambda x: F.pixel_unshuffle(x.transpose(0, 1), 2)[:, 3])


def interpolated(size: tuple[int, int], mode: str) -> Way:
    smooth = {} if mode == "area" else {"antialias": True, "align_corners": False}
    return on_planes(lambda x: F.interpolate(x, size=size, mode=mode, **smooth))


def turned() -> Way:
    return plain(lambda x: torch.rot90(x, 1, (-2, -1)).contiguous())


def sampled(grid: torch.Tensor, mode: str) -> Way:
    """grid_sample, given its grid; float32 positions cost it some 1e-5 pixels."""

    def prepare(x: torch.Tensor) -> Callable[[], Array]:
        images = x.reshape(-1, *x.shape[-3:])
        grids = grid.expand(len(images), *grid.shape[1:])
        return lambda: F.grid_sample(images, grids, mode=mode, padding_mode="border", align_corners=False)

    return Way(prepare, tolerance=2e-4)


def fourier_shifted() -> Way:
    def prepare(x: torch.Tensor) -> Callable[[], Array]:
        height, width = x.shape[-2:]
        rows = torch.fft.fftfreq(height)[:, None] * 0.25
        columns = torch.fft.rfftfreq(width)[None] * 0.5
        phase = torch.exp(-2j * torch.pi * (rows + columns))
        return lambda: torch.fft.irfft2(torch.fft.rfft2(x) * phase, s=(height, width))

    return Way(prepare, tolerance=0.2)  # the Nyquist frequencies, which a real shift cannot keep


def pylops_restriction(size: tuple[int, int]) -> dict[str, Way]:
    """PyLops on flattened numpy images, one after the other, as its operators take them."""
    if importlib.util.find_spec("pylops") is None:
        return {}
    import pylops

    kept = np.arange(size[0] * size[1]).reshape(size)[1::2, 1::2].ravel()
    operator = pylops.Restriction(size[0] * size[1], kept, dtype="float32")
    return {"PyLops Restriction": Way(lambda x: _image_by_image(operator, x))}


def pylops_bilinear(flow: np.ndarray) -> dict[str, Way]:
    if importlib.util.find_spec("pylops") is None:
        return {}
    import pylops

    height, width = flow.shape[:2]
    rows, columns = np.mgrid[0:height, 0:width]
    # Its positions must lie strictly inside the image, and no two may be the same.
    y, x = (1 - 1e-7) * (rows + flow[..., 1]).ravel(), (1 - 1e-7) * (columns + flow[..., 0]).ravel()
    operator = pylops.signalprocessing.Bilinear(np.stack([y, x]), (height, width), dtype="float32")
    return {"PyLops Bilinear": Way(lambda a: _image_by_image(operator, a), tolerance=1e-3)}


def _image_by_image(operator: Any, x: torch.Tensor) -> Callable[[], Array]:
    images = x.reshape(-1, x.shape[-2] * x.shape[-1]).numpy()
    return lambda: np.stack([operator @ image for image in images])


def _padded(x: torch.Tensor) -> torch.Tensor:
    return F.pad(x, (5, 0, 3, 0), mode="reflect")[..., : x.shape[-2], : x.shape[-1]].contiguous()
