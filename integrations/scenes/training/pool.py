"""The training pool: scenes drawn once, encoded once, kept as packed latents with their token ids and layouts.

    python -m commutant.integrations.scenes.training.pool --autoencoder RUN/autoencoder --out POOL \\
        --size 128x128 --count 24000

One safetensors file a size. Scenes of different sizes come from different seeds: no scene is shown at two sizes.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from diffusers import FluxPipeline
from safetensors.torch import load_file
from torch import Tensor

from ..autoencoder import ScenesAutoencoder
from ..compose import Scene, render, scene_from_seed
from ..vocabulary import OBJECTS
from .checkpoint import write_tensors
from .network import SEQUENCE_LENGTH, clip_tokenizer, t5_tokenizer
from .optimizers import channels_last

TOKEN = 16  # pixels per token side: factor 8 and 2x2 packing


def scene_seed(seed: int, height: int, width: int, index: int) -> tuple[int, ...]:
    """Seed of training scene `index` at a size."""
    return (seed, 21, height, width, index)


def layout_of(scene: Scene, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Per token [rows * cols]: the covering object (0 for none, else 1 + index), and the offset [.., 2] in its box."""
    rows, cols = (np.arange(side // TOKEN, dtype=np.float32) * TOKEN + TOKEN / 2 for side in (height, width))
    y, x = (grid.reshape(-1) for grid in np.meshgrid(rows, cols, indexing="ij"))
    kind, offset = np.zeros(len(x), dtype=np.uint8), np.zeros((len(x), 2), dtype=np.float16)
    for placed in sorted(scene.objects, key=lambda o: o.v):
        left, top, right, bottom = placed.box(height, width)
        inside = (x >= left) & (x < right) & (y >= top) & (y < bottom)
        kind[inside] = 1 + OBJECTS.index(placed.word)
        at = np.stack([2 * (x - left) / (right - left) - 1, 2 * (y - top) / (bottom - top) - 1], axis=-1)
        offset[inside] = at[inside]
    return kind, offset


def token_ids(prompts: list[str]) -> tuple[Tensor, Tensor]:
    """Return (CLIP ids, T5 ids), both int64 [B, SEQUENCE_LENGTH], as `FluxPipeline` makes them."""
    how = {"padding": "max_length", "max_length": SEQUENCE_LENGTH, "truncation": True, "return_tensors": "pt"}
    return clip_tokenizer()(prompts, **how).input_ids, t5_tokenizer()(prompts, **how).input_ids


@torch.no_grad()
def encode_packed(autoencoder: ScenesAutoencoder, images: np.ndarray, precision: str = "bf16") -> Tensor:
    """Encode uint8 images [B, H, W, 3] to packed latents [B, (H/16)(W/16), 64], scaled as the pipeline expects.

    `precision` "bf16" runs under autocast, anything else in the autoencoder's own.
    """
    device = next(autoencoder.parameters()).device
    batch = torch.from_numpy(images).to(device).permute(0, 3, 1, 2).float().div(127.5).sub(1.0)
    with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
        latents = autoencoder.encode_mean(batch.contiguous(memory_format=torch.channels_last)).float()
    latents = (latents - autoencoder.config.shift_factor) * autoencoder.config.scaling_factor
    return FluxPipeline._pack_latents(latents.contiguous(), *latents.shape)


def build_pool(
    autoencoder: ScenesAutoencoder, height: int, width: int, count: int, seed: int, precision: str = "bf16"
) -> dict[str, Tensor]:
    """Draw and encode `count` scenes: latents (bf16), clip_ids, t5_ids, kind (uint8) and offset (fp16) tensors."""
    scenes = [scene_from_seed(scene_seed(seed, height, width, i)) for i in range(count)]
    latents = []
    for i in range(0, count, 32):
        images = np.stack([render(scene, height, width) for scene in scenes[i : i + 32]])
        latents.append(encode_packed(autoencoder, images, precision).bfloat16().cpu())
    layouts = [layout_of(scene, height, width) for scene in scenes]
    clip_ids, t5_ids = token_ids([scene.prompt for scene in scenes])
    return {
        "latents": torch.cat(latents),
        "clip_ids": clip_ids.to(torch.int16),
        "t5_ids": t5_ids.to(torch.int16),
        "kind": torch.from_numpy(np.stack([kind for kind, _ in layouts])),
        "offset": torch.from_numpy(np.stack([offset for _, offset in layouts])),
    }


def load_pool(folder: Path, height: int, width: int) -> dict[str, Tensor]:
    """Load one size's pool; raises FileNotFoundError if it was not built."""
    path = folder / f"{height}x{width}.safetensors"
    if not path.exists():
        raise FileNotFoundError(f"no training pool {path}: build it with scenes.training.pool --size {height}x{width}")
    return load_file(str(path))


def main() -> None:
    """Build one size's pool."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--autoencoder", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--size", required=True, help="HEIGHTxWIDTH")
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--precision", choices=("bf16", "fp32"), default="bf16")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    height, width = map(int, args.size.split("x"))
    autoencoder = channels_last(ScenesAutoencoder.from_pretrained(args.autoencoder)).to(args.device).eval()
    args.out.mkdir(parents=True, exist_ok=True)
    pool = build_pool(autoencoder, height, width, args.count, args.seed, args.precision)
    write_tensors(args.out / f"{height}x{width}.safetensors", pool)


if __name__ == "__main__":
    main()
