"""What a finish equals, measured on the embedded model: heads one by one, and heads evaluated in a batch.

python -m benchmarks.exactness
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import torch

from commutant.adapters.diffusers import Previewer
from commutant.integrations.scenes import SCENES_CALL_DEFAULTS, load_scenes

PROMPT = "a fox and a balloon on a night background"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args(arguments)
    pipe = load_scenes(dtype=getattr(torch, options.dtype), device=options.device)
    pipe.set_progress_bar_config(disable=True)
    call = dict(SCENES_CALL_DEFAULTS)
    seeds = list(range(options.seeds))

    def plain(chosen: list[int]) -> torch.Tensor:
        prompts, generators = [PROMPT] * len(chosen), [torch.Generator().manual_seed(s) for s in chosen]
        negative = [call["negative_prompt"]] * len(chosen)
        arguments = call | {"negative_prompt": negative, "output_type": "latent"}
        return pipe(prompts, generator=generators, **arguments).images

    single = torch.cat([plain([s]) for s in seeds])
    together = plain(seeds)
    print(f"{options.dtype}, {options.seeds} seeds, latents of standard deviation {float(single.std()):.2f}")
    report("plain call of one seed against the plain call of all seeds", single, together)
    for heads in (1, options.seeds):
        previewer = Previewer(pipe, batch_size=options.seeds, head_batch_size=heads)
        sheet = previewer.preview(PROMPT, seeds=seeds, progress=False, **call)
        for batch, target, name in ((1, single, "single-seed calls"), (options.seeds, together, "batched call")):
            finals = previewer.finish(list(sheet), batch_size=batch, output_type="latent")
            made = torch.stack([f.image for f in finals])
            report(
                f"heads in batches of {heads}, finished in batches of {batch}, against the plain {name}", made, target
            )


def report(what: str, a: torch.Tensor, b: torch.Tensor) -> None:
    difference = float((a.float() - b.float()).abs().max())
    print(f"{what}: {'equal bit for bit' if torch.equal(a, b) else f'largest difference {difference:.1e}'}")


if __name__ == "__main__":
    main()
