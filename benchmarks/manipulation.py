"""Moving generated images: by the model, against resampling the picture and against warping the latent as a whole.

    python -m benchmarks.manipulation --pairs 32 --markdown docs/manipulation-table.md

For every movement, on the same prompts, seeds and recorded runs of the embedded model:

- picture warped: the finished image, resampled. It is the reference of `psnr`, and shows no new content;
- latent warped whole: the state at the switch, signal and noise, through the operator; the same, guided;
- noise warped only: no signal is moved (switch at step 0), the noise by its partner;
- moved, no guidance; moved (default): what `Previewer.transform` does.

psnr: against the picture warped, where that shows the scene. sharpness: gradient energy over that of the final itself;
`new` is the same in what came into view, against the final's. found: share of the prompted objects that the
classifier recognises. cost: evaluations a transform makes after its tape, in full runs.
"""

from __future__ import annotations

import argparse
import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from commutant.adapters.diffusers import Previewer
from commutant.commutator import Guidance, Plan, Stage, transform_step
from commutant.integrations import evaluation as metrics
from commutant.integrations.scenes import SCENES_CALL_DEFAULTS, load_scenes
from commutant.integrations.scenes.classifier import found, labels_of, load_classifier
from commutant.operators import Affine, Flip, LinearOperator, LinearPartner, Translate, Warp

from .consistency import unseen_scenes

COLUMNS = ("movement", "how", "cost", "psnr", "sharpness", "new", "found")


def movements(size: int) -> dict[str, LinearOperator]:
    """What is measured, in pixels of the final."""
    rows, columns = np.mgrid[0:size, 0:size] / size
    wave = np.stack([0.04 * np.sin(3 * np.pi * rows), 0.04 * np.sin(3 * np.pi * columns)], axis=-1) * size
    return {
        f"translate {size // 4},0": Translate(size // 4, 0),
        f"translate 0,-{3 * size // 16}": Translate(0, -3 * size // 16),
        "rotate 8": Affine.rotation(8, fill="reflect"),
        "zoom 1.2": Affine.zoom(1.2, fill="reflect"),
        "zoom 0.8": Affine.zoom(0.8, fill="reflect"),
        "wave": Warp(wave, fill="reflect"),
        "flip h": Flip("horizontal"),
    }


@dataclass(frozen=True)
class Whole(LinearOperator):
    """An operator that is applied to the noise as well, as if that were part of the picture: the mistake to compare."""

    operator: LinearOperator

    def noise_partner(self) -> LinearPartner:
        return LinearPartner(self, self.operator)

    def coverage(self, shape: Sequence[int]) -> np.ndarray:
        return self.operator.coverage(shape)

    def on_cells(self, pixels: int) -> LinearOperator:
        return Whole(self.operator.on_cells(pixels))

    def _fault(self, size: tuple[int, int]) -> str | None:
        return self.operator._fault(size)

    def _out_size(self, size: tuple[int, int]) -> tuple[int, int]:
        return self.operator._out_size(size)

    def _forward(self, x: Any) -> Any:
        return self.operator(x)

    def _adjoint(self, y: Any, size: tuple[int, int]) -> Any:
        return self.operator.adjoint(y, size)


def ways(at: int) -> dict[str, Callable[[Previewer, Any, LinearOperator], list[Any]]]:
    """Everything but the warped picture, as functions (previewer, sheet, operator) -> finals."""

    def default(previewer: Previewer, sheet: Any, operator: LinearOperator, **changes: Any) -> list[Any]:
        return previewer.transform(sheet, operator, **{"at": at, "batch_size": len(sheet), **changes})

    return {
        "latent warped whole": lambda p, s, o: default(p, s, Whole(o), guidance=None),
        "latent warped whole, guided": lambda p, s, o: default(p, s, Whole(o)),
        "noise warped only": lambda p, s, o: default(p, s, o, at=0, guidance=None),
        "moved, no guidance": lambda p, s, o: default(p, s, o, guidance=None),
        "moved (default)": default,
    }


def warped(operator: LinearOperator, image: Image.Image) -> np.ndarray:
    """The finished picture, resampled: (height, width, 3) in [0, 1]."""
    return np.moveaxis(operator(np.moveaxis(metrics.array(image), -1, 0)), 0, -1).clip(0, 1)


def energy(image: np.ndarray, where: np.ndarray) -> float:
    """Mean squared gradient of the pixels in `where`."""
    down, across = np.zeros_like(image), np.zeros_like(image)
    down[1:], across[:, 1:] = np.diff(image, axis=0), np.diff(image, axis=1)
    return float(np.mean((down**2 + across**2)[where])) if where.any() else float("nan")


class Scores:
    """Scores of moved images of some finals."""

    def __init__(self, finals: list[Image.Image], words: list[Sequence[str]]) -> None:
        self.finals = [metrics.array(f) for f in finals]
        self.wanted = torch.from_numpy(np.stack([labels_of(w) for w in words]) > 0.5)
        self.classifier = load_classifier()

    def whole(self) -> list[int]:
        """Which finals show every object that was asked for."""
        seen = found(self.classifier, np.stack([np.rint(f * 255) for f in self.finals]).astype(np.uint8))
        return [i for i, row in enumerate((~self.wanted | seen).all(1).tolist()) if row]

    def of(self, images: list[np.ndarray], targets: list[np.ndarray], seen: np.ndarray) -> dict[str, float]:
        everywhere, new = np.ones_like(seen, dtype=bool), seen < 0.5
        errors = [np.mean((a - b)[seen > 0.999] ** 2) for a, b in zip(images, targets)]
        recognised = found(self.classifier, np.stack([np.rint(i * 255) for i in images]).astype(np.uint8))
        # In what came into view there may be nothing but sky: the mean over images of both, not of their ratios.
        ratio = [np.mean([energy(i, w) for i in images]) for w in (everywhere, new)]
        final = np.mean([energy(f, everywhere) for f in self.finals])
        return {
            "psnr": float(np.mean([min(60.0, -10 * np.log10(max(e, 1e-12))) for e in errors])),
            "sharpness": float(ratio[0] / final),
            "new": float(ratio[1] / final),
            "found": float((recognised & self.wanted).sum() / self.wanted.sum()),
        }


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=32)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--only", default="", help="movements whose name contains this")
    parser.add_argument("--at", type=int, help="the step to move at (default: that of `transform`)")
    parser.add_argument(
        "--autocast", action="store_true", help="bfloat16 autocast: several times faster where the CPU has it"
    )
    parser.add_argument("--markdown", type=Path, help="write the table, with date and machine, as markdown")
    parser.add_argument("--picture", type=Path, help="write a picture of some of them")
    options = parser.parse_args(arguments)
    at = transform_step(options.steps) if options.at is None else options.at

    pipe = load_scenes()
    pipe.set_progress_bar_config(disable=True)
    call = dict(SCENES_CALL_DEFAULTS, num_inference_steps=options.steps)
    scenes = unseen_scenes(options.pairs)
    with torch.autocast("cpu", torch.bfloat16, enabled=options.autocast):
        finals, images, lines, whole = run(pipe, call, scenes, at, options)
    text = markdown(lines, options, at)
    print(text)
    if options.markdown:
        options.markdown.write_text(text)
    if options.picture:
        options.picture.parent.mkdir(parents=True, exist_ok=True)
        picture(finals, images, whole).save(options.picture, optimize=True)


def run(
    pipe: Any, call: dict[str, Any], scenes: list[Any], at: int, options: argparse.Namespace
) -> tuple[list[Image.Image], dict[str, dict[str, list[np.ndarray]]], list[dict[str, Any]], list[int]]:
    """The finals, every moved image by movement and way, the table's lines, and which finals show all they should."""
    previewer = Previewer(pipe, batch_size=options.batch, head_batch_size=options.batch)
    # A head to the step that images are moved at, with the answer there; its previews are not looked at.
    plan = Plan(at, (Stage(2, 1, guidance=Guidance("defect", 1, 1.0)),))
    seeds = [1000 + i for i in range(len(scenes))]
    sheet = previewer.preview([s.prompt for s in scenes], seeds=seeds, plan=plan, progress=False, **call)
    finals = [final.image for final in previewer.finish(list(sheet), batch_size=options.batch)]
    scores = Scores(finals, [s.words for s in scenes])
    parts = [sheet[i : i + options.batch] for i in range(0, len(sheet), options.batch)]
    images: dict[str, dict[str, list[np.ndarray]]] = {}
    lines = []
    chosen = {k: v for k, v in movements(call["height"]).items() if options.only in k}
    for name, operator in chosen.items():
        seen = operator.coverage((call["height"], call["width"]))
        targets = [warped(operator, final) for final in finals]
        images[name] = {"picture warped": targets}
        lines.append({"movement": name, "how": "picture warped", "cost": 0.0, **scores.of(targets, targets, seen)})
        for way, made_by in ways(at).items():
            made = [final for part in parts for final in made_by(previewer, part, operator)]
            images[name][way] = [metrics.array(final.image) for final in made]
            cost = float(np.mean([final.cost.high / final.cost.full for final in made]))
            lines.append({"movement": name, "how": way, "cost": cost, **scores.of(images[name][way], targets, seen)})
        for line in lines[-1 - len(ways(at)) :]:
            print(" | ".join(shown(line[c]) for c in COLUMNS), flush=True)
    return finals, images, lines, scores.whole()


def shown(value: Any) -> str:
    if isinstance(value, str):
        return value
    return "" if np.isnan(value) else f"{value:.2f}"


def markdown(lines: list[dict[str, Any]], options: argparse.Namespace, at: int) -> str:
    """The table with its circumstances."""
    where = f"{platform.machine()} CPU, {torch.get_num_threads()} threads, torch {torch.__version__}"
    command = f"python -m benchmarks.manipulation --pairs {options.pairs}{' --autocast' if options.autocast else ''}"
    command += f" --at {options.at}" if options.at is not None else ""
    command += f" --only '{options.only}'" if options.only else ""
    head = f"{date.today().isoformat()}, {where}; `{command}`; N = {options.steps}, moved at step {at}, 256x256."
    rows = ["| " + " | ".join(shown(line[c]) for c in COLUMNS) + " |" for line in lines]
    return "\n".join([head, "", "| " + " | ".join(COLUMNS) + " |", "|---|---|" + "---:|" * 5, *rows]) + "\n"


def picture(
    finals: list[Image.Image], images: dict[str, dict[str, list[np.ndarray]]], whole: list[int], per: int = 2
) -> Image.Image:
    """Columns: `per` seeds for each movement, those first that show all they should. Rows: the final, then each way."""
    cell, gap, margin = 120, 6, 12
    some = [name for name in images if name not in ("translate 0,-48", "zoom 0.8")]
    order = [*whole, *(k for k in range(len(finals)) if k not in whole)]
    columns = [(name, order[(i * per + j) % len(order)]) for i, name in enumerate(some) for j in range(per)]
    names = ["picture warped", "latent warped whole", "moved (default)"]
    width = 2 * margin + len(columns) * (cell + gap) - gap
    sheet = Image.new("RGB", (width, 2 * margin + (len(names) + 1) * (cell + gap) - gap), "white")
    for x, (name, k) in enumerate(columns):
        arrays = [metrics.array(finals[k]), *(images[name][way][k] for way in names)]
        for y, array in enumerate(arrays):
            small = Image.fromarray(np.rint(array * 255).astype(np.uint8)).resize(
                (cell, cell), Image.Resampling.LANCZOS
            )
            sheet.paste(small, (margin + x * (cell + gap), margin + y * (cell + gap)))
    return sheet


if __name__ == "__main__":
    main()
