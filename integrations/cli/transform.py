"""`commutant transform`: picked images translated, turned, zoomed, mirrored or warped while they form."""

from __future__ import annotations

import argparse
import hashlib
import io
import math
from pathlib import Path
from typing import Any

from ...errors import Refusal
from ..sheets.reading import read_limited
from . import values
from .picking import add_picking, one_by_one, picked_seeds, previewer_of

LARGEST_FLOW = 512 * 2**20  # bytes


def add(commands: Any) -> None:
    """Declare the command."""
    p = commands.add_parser(
        "transform",
        help="translate, turn, zoom, mirror or warp an image while it forms",
        description=(
            "Make the image of a picked preview again, transformed. Not a resampled picture: the recorded run is "
            "transformed at a step and continued at full resolution, so that what comes into view is the model's own."
        ),
    )
    add_picking(p)
    how = p.add_mutually_exclusive_group(required=True)
    how.add_argument(
        "--translate", type=values.displacement, metavar="DX,DY", help="pixels right and down; =-32,0 moves left"
    )
    how.add_argument("--rotate", type=values.number, metavar="DEGREES", help="counter-clockwise, about the centre")
    how.add_argument("--zoom", type=values.factor, metavar="FACTOR", help="about the centre; above 1 magnifies")
    how.add_argument("--flip", choices=("h", "v"), help="mirror left-right or upside-down")
    how.add_argument(
        "--warp", type=Path, metavar="FLOW.npy", help="(height, width, 2): where each pixel comes from, as (dx, dy)"
    )
    p.add_argument(
        "--at", type=values.count(0), metavar="D", help="the step to transform at (default: 2/5 of the steps)"
    )
    p.add_argument("--noise-seed", type=values.count(0), default=0, metavar="S", help="of the noise for new content")
    p.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Transform the picked images; returns the exit code."""
    from ...commutator.transform import transform_step
    from ..sheets.folder import SheetFolder

    folder = SheetFolder.open(arguments.sheet)
    seeds = picked_seeds(arguments, folder)
    call = folder.record.call
    operator, how = _operator(arguments, (call["height"], call["width"]))
    steps = call["num_inference_steps"]
    at = transform_step(steps) if arguments.at is None else arguments.at
    if at >= steps:
        raise Refusal(f"--at {at}: the step to transform at must lie in 0-{steps - 1}")
    to_do = []
    for seed in seeds:
        path = folder.transform(seed, how, at, arguments.noise_seed)
        if path is None:
            to_do.append(seed)
        elif not arguments.quiet:
            print(f"{path}  (made already)")
    previewer = previewer_of(folder, arguments, to_do)
    return _make(folder, previewer, to_do, operator, how, at, arguments)


def _make(
    folder: Any, previewer: Any, seeds: list[int], operator: Any, how: str, at: int, arguments: argparse.Namespace
) -> int:
    from ..sheets.wording import seconds

    def make(seed: int) -> str:
        final = previewer.transform(folder.load(seed), operator, at=at, seed=arguments.noise_seed)
        path = folder.add_transform(seed, final.image, how, at, arguments.noise_seed, final.cost)
        made = f"{final.cost.high} of {final.cost.full} evaluations, {seconds(final.cost.seconds)}"
        return "" if arguments.quiet else f"{path}  ({how}; {made})"

    return one_by_one(folder, seeds, make, what="", shown_path=arguments.sheet)


def _operator(arguments: argparse.Namespace, size: tuple[int, int]) -> tuple[Any, str]:
    """The operator asked for, in pixels of the final, and how the record names it."""
    from ...operators import Affine, Flip, Translate, Warp

    if arguments.translate is not None:
        dx, dy = arguments.translate
        return Translate(dx, dy), f"translate {dx},{dy}"
    if arguments.rotate is not None:
        return Affine.rotation(arguments.rotate, fill="reflect"), f"rotate {arguments.rotate:g}"
    if arguments.zoom is not None:
        return Affine.zoom(arguments.zoom, fill="reflect"), f"zoom {arguments.zoom:g}"
    if arguments.flip is not None:
        return Flip({"h": "horizontal", "v": "vertical"}[arguments.flip]), f"flip {arguments.flip}"
    flow, digest = _flow(arguments.warp, size)
    return Warp(flow, fill="reflect"), f"warp {digest}"


def _flow(path: Path, size: tuple[int, int]) -> tuple[Any, str]:
    """The flow in a .npy file and the beginning of its SHA-256; Refusal for anything else. Nothing is unpickled."""
    import numpy as np

    expected = (*size, 2)
    try:
        # The header says how large an array becomes, so it is judged by the file's own size, which has its limit.
        data = read_limited(
            path, min(LARGEST_FLOW, 10_000 + 16 * math.prod(expected)), f"a flow of {expected}", links=True
        )
        flow = np.load(io.BytesIO(data), allow_pickle=False)
    except FileNotFoundError:
        raise Refusal(f"no such file: {path}") from None
    except (Refusal, PermissionError):
        raise
    except Exception as error:  # on damaged headers and archives: SyntaxError, BadZipFile, MemoryError, TypeError ...
        raise Refusal(f"{path} is no .npy array: {error}") from None
    if not isinstance(flow, np.ndarray) or flow.dtype.kind != "f" or flow.shape != expected:
        found = f"{flow.dtype} {flow.shape}" if isinstance(flow, np.ndarray) else "an archive"
        raise Refusal(f"{path}: a flow for this sheet is a floating-point array of {expected}, got {found}")
    if not np.isfinite(flow).all():
        raise Refusal(f"{path}: the flow holds values that are not finite")
    return flow, hashlib.sha256(data).hexdigest()[:12]
