"""The picture of the README: finals, default previews, and what costs as much: fewer steps, and a live preview.

python -m benchmarks.picture --out docs/images/previews.png

Also prints, for each row, its cost in finals and in how many pictures the classifier finds every object of the final in
its place.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from commutant.adapters.diffusers import Previewer
from commutant.commutator import DEFAULT_PRESET, Plan
from commutant.integrations.pictures import INK, Grid, font, pasted
from commutant.integrations.scenes import SCENES_CALL_DEFAULTS, load_scenes
from commutant.integrations.scenes.classifier import composition

PROMPT = "a fox and a balloon on a night background"
GAP, MARGIN, CELL, NAME = 10, 16, 176, 150
ROWS = {"preview": DEFAULT_PRESET, "8 steps,\nhigh resolution": "fewer", "live preview\nafter 8 of 30": "live"}


def strip(rows: Mapping[str, Sequence[Image.Image]]) -> Image.Image:
    """One row of pictures for each name, all shown at the size of the finals."""
    count = len(next(iter(rows.values())))
    grid = Grid((CELL, CELL), count, len(rows), (GAP, GAP), (MARGIN + NAME, MARGIN))
    sheet = Image.new("RGB", (grid.end[0] + MARGIN, grid.end[1] + MARGIN), "white")
    draw = ImageDraw.Draw(sheet)
    for row, (name, pictures) in enumerate(rows.items()):
        for column, picture in enumerate(pictures):
            pasted(sheet, picture, grid.place(row * count + column), grid.cell)
        middle = grid.place(row * count)[1] + CELL // 2
        draw.multiline_text((MARGIN, middle), name, fill=INK, font=font(16), anchor="lm", spacing=5)
    return sheet


def in_place(pictures: Sequence[Image.Image], finals: Sequence[Image.Image]) -> int:
    """In how many pictures every object of the final is found in its place, and no other object."""
    agree = composition()
    return sum(agree(_array(a), _array(b)) == 1.0 for a, b in zip(pictures, finals))


def _array(picture: Image.Image) -> np.ndarray:
    return np.asarray(picture.convert("RGB").resize((128, 128), Image.Resampling.BOX), dtype=np.float32) / 255


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("docs/images/previews.png"))
    parser.add_argument("--prompt", default=PROMPT)
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--plan", default=None, help="a preset; the default one unless given")
    parser.add_argument("--guidance", type=float, default=None, help="true CFG scale; the model's own unless given")
    parser.add_argument("--ratio", type=float, default=0.274, help="low over high cost of an evaluation")
    options = parser.parse_args(arguments)

    pipe = load_scenes()
    pipe.set_progress_bar_config(disable=True)
    previewer, rows = Previewer(pipe, batch_size=options.seeds), {}
    guided = {} if options.guidance is None else {"true_cfg_scale": options.guidance}
    call = {**SCENES_CALL_DEFAULTS, **guided}
    # The whole run of every seed first: what it answered is not asked again for the rows.
    runs = previewer.preview(
        options.prompt, seeds=range(options.seeds), plan=Plan.live(call["num_inference_steps"]), **call
    )
    rows["final"] = finals = [final.image for final in previewer.finish(list(runs))]
    for name, plan in {**ROWS, "preview": options.plan or ROWS["preview"]}.items():
        made = previewer.with_plan(list(runs), plan)
        rows[name] = made.images
        evaluations = made.plan.head + sum(s.steps or 0 for s in made.plan.stages if s.scale == 1)
        low = sum(s.steps or 0 for s in made.plan.stages if s.scale > 1)
        share = (evaluations + options.ratio * low) / call["num_inference_steps"]
        found = in_place(made.images, finals)
        print(f"{made.plan.name}: {share:.3f} of a final, all objects in place in {found} of {len(finals)}", flush=True)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    strip(rows).save(options.out, optimize=True)
    print(options.out)


if __name__ == "__main__":
    main()
