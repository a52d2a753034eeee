"""The picture of the README: finals above, default previews below, the same seeds.

python -m benchmarks.picture --out docs/images/previews.png
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image

from commutant.adapters.diffusers import Previewer
from commutant.integrations.pictures import Grid, pasted
from commutant.integrations.scenes import SCENES_CALL_DEFAULTS, load_scenes

PROMPT = "a fox and a balloon on a night background"
GAP, MARGIN, CELL = 10, 16, 224


def strip(finals: Sequence[Image.Image], previews: Sequence[Image.Image]) -> Image.Image:
    """Two rows of pictures: finals at `CELL` pixels, previews at half of that (their size relative to the finals)."""
    grid = Grid((CELL, CELL), len(finals), 1, (GAP, GAP), (MARGIN, MARGIN))
    sheet = Image.new("RGB", (grid.end[0] + MARGIN, grid.end[1] + GAP + CELL // 2 + MARGIN), "white")
    for i, (final, preview) in enumerate(zip(finals, previews)):
        pasted(sheet, final, grid.place(i), grid.cell)
        pasted(sheet, preview, (grid.place(i)[0] + CELL // 4, grid.end[1] + GAP), (CELL // 2, CELL // 2))
    return sheet


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("docs/images/previews.png"))
    parser.add_argument("--prompt", default=PROMPT)
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--plan", default=None, help="a preset; the default one unless given")
    options = parser.parse_args(arguments)

    pipe = load_scenes()
    pipe.set_progress_bar_config(disable=True)
    plan = {} if options.plan is None else {"plan": options.plan}
    sheet = Previewer(pipe).preview(options.prompt, seeds=range(options.seeds), **plan, **SCENES_CALL_DEFAULTS)
    finals = [
        pipe(options.prompt, generator=torch.Generator().manual_seed(s), **SCENES_CALL_DEFAULTS).images[0]
        for s in range(options.seeds)
    ]
    options.out.parent.mkdir(parents=True, exist_ok=True)
    strip(finals, sheet.images).save(options.out)
    print(options.out)


if __name__ == "__main__":
    main()
