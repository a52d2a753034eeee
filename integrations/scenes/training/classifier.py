"""Train the classifier of `scenes` on drawn scenes.

python -m commutant.integrations.scenes.training.classifier --steps 1200
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..classifier import FOLDER, SIDE, SceneClassifier, labels_of
from ..compose import render, scene_from_seed
from .checkpoint import write_json, write_tensors
from .optimizers import channels_last, generators, learning_rate
from .threads import adapt_threads


def drawn_pool(count: int, seed: int, sizes: tuple[int, ...] = (256, 192, 128)) -> tuple[Tensor, Tensor]:
    """Scenes drawn at `sizes` in turn, brought to 128x128: uint8 [count, 3, 128, 128] and labels [count, objects]."""
    images, labels = [], []
    for i in range(count):
        scene, size = scene_from_seed((seed, 31, i)), sizes[i % len(sizes)]
        image = torch.from_numpy(render(scene, size, size)).permute(2, 0, 1)[None].float()
        if size != SIDE:
            image = F.interpolate(image, (SIDE, SIDE), mode="bilinear", antialias=True)
        images.append(image.round().clamp(0, 255).byte())
        labels.append(labels_of(scene.words))
    return torch.cat(images), torch.from_numpy(np.stack(labels))


def augmented(images: Tensor, rng: torch.Generator) -> Tensor:
    """Gain, offset, noise and sometimes blur, so that the judgement rests on shapes: [B, 3, H, W] in -1..1."""
    batch = (len(images), 1, 1, 1)
    gain = 1.0 + 0.1 * torch.randn(batch, generator=rng)
    offset = 0.1 * torch.randn(len(images), 3, 1, 1, generator=rng)
    noise = 0.05 * torch.rand(batch, generator=rng) * torch.randn(images.shape, generator=rng)
    blurred = F.avg_pool2d(F.pad(images, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    mixed = torch.lerp(images, blurred, torch.rand(batch, generator=rng))
    return mixed * gain + offset + noise


@torch.no_grad()
def accuracies(model: SceneClassifier, images: Tensor, labels: Tensor) -> dict[str, float]:
    """Shares over uint8 images: `label` of single labels right, `scene` of images with every label right."""
    right = torch.cat([
        (model(part.float().div(127.5).sub(1.0)) > 0) == (want > 0.5)
        for part, want in zip(images.split(64), labels.split(64))
    ])  # fmt: skip
    return {"label": right.float().mean().item(), "scene": right.all(dim=1).float().mean().item()}


def main() -> None:
    """Train, measure on held-out scenes, save the weights and the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=FOLDER)
    parser.add_argument("--steps", type=int, default=1200)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--pool", type=int, default=9000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(args.seed)
        model = channels_last(SceneClassifier())
    images, labels = drawn_pool(args.pool, args.seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=1e-2)
    for step in range(args.steps):
        adapt_threads(args.threads)
        rng, torch_rng = generators(args.seed, 3, step)
        index = torch.from_numpy(rng.integers(len(images), size=args.batch))
        batch = augmented(images[index].float().div(127.5).sub(1.0), torch_rng)
        with torch.autocast("cpu", torch.bfloat16):
            logits = model(batch.contiguous(memory_format=torch.channels_last))
        loss = F.binary_cross_entropy_with_logits(logits.float(), labels[index])
        optimizer.param_groups[0]["lr"] = 2e-3 * learning_rate(step, args.steps, 50, 0.3)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        if (step + 1) % 100 == 0:
            print(json.dumps({"step": step + 1, "loss": round(loss.item(), 5)}), flush=True)
    args.out.mkdir(parents=True, exist_ok=True)
    write_tensors(args.out / "model.safetensors", model.state_dict())
    held_out = accuracies(model.eval(), *drawn_pool(1000, args.seed + 1))
    write_json(args.out / "figures.json", {"held_out_scenes": 1000, "steps": args.steps, **held_out})
    print(held_out)


if __name__ == "__main__":
    main()
