"""Ask for scenes, generate them through the unmodified pipeline, and count the objects that the classifier finds.

python -m commutant.integrations.scenes.training.evaluate --sizes 256x256 192x192 128x128 --count 64
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import FluxPipeline
from PIL import Image
from torch import Tensor

from .. import SCENES_CALL_DEFAULTS, WEIGHTS, load_scenes
from ..classifier import found, labels_of, load_classifier
from ..compose import scene_from_seed
from ..vocabulary import OBJECTS
from .checkpoint import write_json
from .threads import adapt_threads

PROMPT_STREAM = 41


def asked_scenes(count: int, seed: int) -> list[tuple[str, list[str]]]:
    """Prompts never used as training seeds, with the object words that they name."""
    scenes = [scene_from_seed((seed, PROMPT_STREAM, i)) for i in range(count)]
    return [(scene.prompt, scene.words) for scene in scenes]


def generate(pipeline: FluxPipeline, prompts: list[str], seed: int, **call: Any) -> np.ndarray:
    """Images uint8 [B, H, W, 3]; image i of a call has its own generator, seeded with `seed` + i."""
    noise = [torch.Generator("cpu").manual_seed(seed + i) for i in range(len(prompts))]
    made = pipeline(prompts, generator=noise, output_type="np", **{**SCENES_CALL_DEFAULTS, **call})
    return np.rint(np.clip(made.images, 0, 1) * 255).astype(np.uint8)


def score(seen: Tensor, wanted: Tensor) -> dict[str, float]:
    """Shares: asked objects `recognised`, images with `all_recognised`; and objects per image that nobody asked for."""
    hits = seen & wanted
    return {
        "recognised": (hits.sum() / wanted.sum()).item(),
        "all_recognised": (hits.sum(1) == wanted.sum(1)).float().mean().item(),
        "extra_per_image": ((seen & ~wanted).sum() / len(seen)).item(),
    }


def sheet(images: np.ndarray, columns: int) -> Image.Image:
    """Tile uint8 images [B, H, W, 3] into one picture, row by row."""
    rows = [np.concatenate(list(images[i : i + columns]), axis=1) for i in range(0, len(images), columns)]
    full = [row for row in rows if row.shape[1] == rows[0].shape[1]]
    return Image.fromarray(np.concatenate(full, axis=0))


def main() -> None:
    """Generate, score per size, write the figures and a sheet per size."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--weights", type=Path, default=WEIGHTS)
    parser.add_argument("--sizes", nargs="+", default=["256x256", "192x192", "128x128"])
    parser.add_argument("--count", type=int, default=64)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cfg", type=float, default=SCENES_CALL_DEFAULTS["true_cfg_scale"])
    parser.add_argument("--inference-steps", type=int, default=SCENES_CALL_DEFAULTS["num_inference_steps"])
    parser.add_argument("--autocast", action="store_true", help="run the networks in bf16: several times faster on AMX")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    pipeline = load_scenes(folder=args.weights)
    pipeline.set_progress_bar_config(disable=True)
    classifier = load_classifier()
    asked = asked_scenes(args.count, args.seed)
    wanted = torch.from_numpy(np.stack([labels_of(words) for _, words in asked]) > 0.5)
    figures: dict[str, Any] = {"count": args.count, "cfg": args.cfg, "steps": args.inference_steps}
    for size in args.sizes:
        height, width = map(int, size.split("x"))
        call = {"height": height, "width": width, "true_cfg_scale": args.cfg}
        call["num_inference_steps"] = args.inference_steps
        parts = []
        for i in range(0, args.count, args.batch):
            adapt_threads(args.threads)
            prompts = [prompt for prompt, _ in asked[i : i + args.batch]]
            with torch.autocast("cpu", torch.bfloat16, enabled=args.autocast):
                parts.append(generate(pipeline, prompts, 1000 + i, **call))
        images = np.concatenate(parts)
        seen = found(classifier, images)
        missed = (wanted & ~seen).sum(0) / wanted.sum(0).clamp(min=1)
        figures[size] = score(seen, wanted) | {
            "worst": {OBJECTS[i]: round(missed[i].item(), 2) for i in missed.argsort(descending=True)[:5].tolist()}
        }
        sheet(images[:24], 6).save(args.out / f"sheet-{size}.png")
        print(size, json.dumps(figures[size]), flush=True)
    write_json(args.out / "figures.json", figures)


if __name__ == "__main__":
    main()
