"""A guider for the low resolution: the same model and conditions, with places in cells made smaller.

Masks and control hints are fitted by ComfyUI itself, which resolves them anew for the size of each run's noise.
"""

from __future__ import annotations

import copy
from typing import Any

CELL = 8  # pixels: what ComfyUI itself assumes where a condition names no width


def smaller(guider: Any, high: tuple[int, ...], low: tuple[int, ...]) -> Any:
    """`guider` for latents of shape `low` in place of `high`; the given one stays as it is."""
    other = copy.copy(guider)
    other.original_conds = {
        name: [_scaled(cond, high, low) for cond in conds] for name, conds in guider.original_conds.items()
    }
    return other


def _scaled(cond: dict[str, Any], high: tuple[int, ...], low: tuple[int, ...]) -> dict[str, Any]:
    scaled = dict(cond)
    # Models that are told the size of the picture (SDXL) are told what the final is told: ComfyUI counts dims 2 and 3.
    scaled.setdefault("height", high[2] * CELL)
    scaled.setdefault("width", high[3] * CELL)
    if "area" in scaled and scaled["area"][0] != "percentage":
        scaled["area"] = _area(tuple(scaled["area"]), high[-2:], low[-2:])
    return scaled


def _area(area: tuple[int, ...], high: tuple[int, ...], low: tuple[int, ...]) -> tuple[int, ...]:
    """Sizes, then offsets, of the dims of a latent in cells; the last two of each become smaller."""
    dims = len(area) // 2
    sizes, offsets = list(area[:dims]), list(area[dims:])
    for axis in (-2, -1):
        begin = round(offsets[axis] * low[axis] / high[axis])
        end = round((offsets[axis] + sizes[axis]) * low[axis] / high[axis])
        offsets[axis] = min(begin, low[axis] - 1)
        sizes[axis] = max(1, end - offsets[axis])
    return (*sizes, *offsets)
