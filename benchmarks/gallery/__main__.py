"""Everything generated in docs/operators/: pictures, commutators with the embedded model, the table of all operators.

    python -m benchmarks.gallery --autocast

Pictures go to docs/images/operators, tables between the markers of the pages, all norms to commutators.csv.
`--only index` takes a second, `pictures` makes one image by the embedded model, `commutators` evaluates it some 1600
times, half of them at half the size. With --resume, what was measured before an interruption is kept.
Commutators: relative norm |A x0hat(x, t) - x0hat(y, t')| / |A x0hat(x, t)| on latents, mean over prompts and seeds.
"""

from __future__ import annotations

import argparse
import platform
from collections.abc import Sequence
from datetime import date
from pathlib import Path

import numpy as np
import torch

from commutant.integrations import evaluation as metrics
from commutant.integrations.scenes import SCENES_CALL_DEFAULTS, load_scenes

from ..consistency import prompts_and_seeds
from . import index, pages
from .commutators import measure
from .families import families
from .strip import strip
from .values import Values

PROMPT, SEED = "a house on a beach background", 1
PARTS = ("index", "pictures", "commutators")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--docs", type=Path, default=Path("docs"))
    parser.add_argument("--only", choices=PARTS, action="append", help="one part, or several")
    parser.add_argument("--prompts", type=int, default=8)
    parser.add_argument("--steps", type=int, nargs="+", default=[3, 6, 12, 20], help="of 30, to measure before")
    parser.add_argument(
        "--autocast", action="store_true", help="bfloat16 autocast: several times faster where the CPU has it"
    )
    parser.add_argument("--resume", action="store_true", help="keep the prompts that commutators.csv holds already")
    options = parser.parse_args(arguments)
    parts = options.only or PARTS
    csv, shown = options.docs / "operators" / "commutators.csv", families()

    if "index" in parts:
        pages.write(options.docs / "operators" / "README.md", "operators", index.table())
    if "pictures" in parts or "commutators" in parts:
        pipe = load_scenes()
        pipe.set_progress_bar_config(disable=True)
    if "pictures" in parts:
        generator = torch.Generator().manual_seed(SEED)
        with torch.autocast("cpu", torch.bfloat16, enabled=options.autocast):
            final = pipe(PROMPT, generator=generator, **SCENES_CALL_DEFAULTS).images[0]
        image = np.moveaxis(metrics.array(final), -1, 0)
        for name, entries in shown.items():
            path = options.docs / "images" / "operators" / f"{name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            strip(image, entries).save(path, optimize=True)
            print(path, path.stat().st_size, flush=True)
    if "commutators" in parts:
        pairs = prompts_and_seeds(options.prompts)
        values = Values.load(csv) if options.resume and csv.exists() else Values()
        for prompt, seed in zip(pairs.prompts, pairs.seeds):
            if any(key[0] == seed for key in values.norms):
                continue
            with torch.autocast("cpu", torch.bfloat16, enabled=options.autocast):
                found = measure(pipe, SCENES_CALL_DEFAULTS, prompt, seed, options.steps, shown)
            values.norms |= found.norms
            values.times |= found.times
            values.save(csv)
            print(f"seed {seed}: {prompt}", flush=True)
        where = circumstances(values, options)
        for name, entries in shown.items():
            table = values.markdown(name, entries, pairs.seeds, options.steps)
            pages.write(options.docs / "operators" / f"{name}.md", "commutator", f"{table}\n\n{where}")


def circumstances(values: Values, options: argparse.Namespace) -> str:
    """When, where and how the numbers were made."""
    command = f"python -m benchmarks.gallery{' --autocast' if options.autocast else ''}"
    sample = f"mean over {options.prompts} prompts and seeds"
    threads = torch.get_num_threads()
    where = f"{platform.machine()} CPU, {threads} thread{'s' * (threads > 1)}, torch {torch.__version__}"
    times = ", ".join(f"{s}: {t:.2f}" for s, t in values.times.items())
    precision = "bfloat16 autocast" if options.autocast else "float32"
    return (
        f"{date.today().isoformat()}, {where}, {precision}; `{command}`; {sample}, "
        f"true CFG 3.5; t before each step of 30: {times}."
    )


if __name__ == "__main__":
    main()
