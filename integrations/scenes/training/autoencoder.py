"""Train the autoencoder of `scenes` on 128x128 crops of scenes drawn at 256, 192 and 128.

    python -m commutant.integrations.scenes.training.autoencoder --run RUN_FOLDER --steps 6000
    python -m commutant.integrations.scenes.training.autoencoder --run RUN_FOLDER --steps 6000 --start-from WEIGHTS/vae

`--start-from` goes on from a stored autoencoder with its encoder frozen, so that a flow trained on its latents stays
valid; with `--anchor W` the encoder learns too, held to its first latents by W times the squared distance.

The loss is L1 plus the L1 of image differences (edges) at three scales. The decoder sees latents with a little noise,
of a strength drawn per image, so that it forgives the small errors of a sampled latent. Nothing ties the latents of
one scene at two sizes together: whether down-sampling and the model commute is for the model to answer.
"""

import argparse
import copy
import json
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..autoencoder import ScenesAutoencoder
from ..compose import render, scene_from_seed
from .checkpoint import load_checkpoint, save_checkpoint
from .optimizers import average_into, channels_last, generators, learning_rate, warm_decay
from .threads import adapt_threads, wait_while

CROP = 128
POOL = {256: 3000, 192: 1000, 128: 3000}
_STREAM = {256: 11, 192: 12, 128: 13}


def render_pool(sizes: dict[int, int], seed: int) -> dict[int, Tensor]:
    """Draw the training images: size -> uint8 [count, size, size, 3]."""
    return {
        size: torch.from_numpy(
            np.stack([render(scene_from_seed((seed, _STREAM[size], i)), size, size) for i in range(count)])
        )
        for size, count in sizes.items()
    }


def draw_batch(
    pool: dict[int, Tensor], batch: int, rng: np.random.Generator, odds: tuple[float, ...] = (0.5, 0.2, 0.3)
) -> Tensor:
    """Crops from all sizes with the given odds, as float [batch, 3, CROP, CROP] in -1..1, channels last."""
    crops = []
    for size in rng.choice(list(POOL), size=batch, p=odds):
        images = pool[int(size)]
        index, top, left = rng.integers(len(images)), *rng.integers(0, int(size) - CROP + 1, size=2)
        crops.append(images[index, top : top + CROP, left : left + CROP])
    return torch.stack(crops).permute(0, 3, 1, 2).float().div(127.5).sub(1.0)


def reconstruction_loss(got: Tensor, want: Tensor) -> Tensor:
    """L1 and a squared error, with edge differences, averaged over the scales 1, 2 and 4: a scalar."""
    error, total = got - want, got.new_zeros(())
    for scale in range(3):
        error = F.avg_pool2d(error, 2) if scale else error
        across, down = error.diff(dim=-1), error.diff(dim=-2)
        total = total + error.abs().mean() + 0.5 * (across.abs().mean() + down.abs().mean()) + error.square().mean()
    return total


def edge_contrast(images: Tensor) -> Tensor:
    """Root mean square of the pixel differences in blocks of 4x4 pixels: [B, 1, H/4, W/4] (H, W multiples of 4)."""
    across = F.pad(images.diff(dim=-1), (0, 1)).square()
    down = F.pad(images.diff(dim=-2), (0, 0, 0, 1)).square()
    return F.avg_pool2d((across + down).mean(dim=1, keepdim=True), 4).add(1e-4).sqrt()


def contrast_loss(got: Tensor, want: Tensor) -> Tensor:
    """How far the edges' contrast is off, wherever in a block they lie: a scalar.

    Any loss on errors alone is least for a soft edge where the place of a sharp one is not known to the pixel.
    """
    return (edge_contrast(got) - edge_contrast(want)).abs().mean()


def noisy(latents: Tensor, strength: float, rng: torch.Generator) -> Tensor:
    """Add noise whose standard deviation is drawn per image from |N(0, strength^2)|."""
    scale = torch.randn(len(latents), 1, 1, 1, generator=rng, device=latents.device).abs() * strength
    return latents + scale * torch.randn(latents.shape, generator=rng, device=latents.device)


def fixed_encoder(model: ScenesAutoencoder) -> nn.Module:
    """A frozen copy of encoder and normalisation, in evaluation mode."""
    parts = nn.Sequential(copy.deepcopy(model.encoder), copy.deepcopy(model.normalize))
    return parts.requires_grad_(False).eval()


@torch.no_grad()
def fold_normalization(model: ScenesAutoencoder) -> ScenesAutoencoder:
    """Return a copy whose last encoder convolution carries the latent normalisation: `normalize` is an identity."""
    folded = copy.deepcopy(model).eval()
    scale = (folded.normalize.running_var + folded.normalize.eps).rsqrt()
    last = folded.encoder[-1]
    last.bias.copy_((last.bias - folded.normalize.running_mean) * scale)
    last.weight.mul_(scale[:, None, None, None])
    folded.normalize.running_mean.zero_()
    folded.normalize.running_var.fill_(1.0 - folded.normalize.eps)
    return folded


@torch.no_grad()
def round_trip_psnr(model: ScenesAutoencoder, size: int, count: int, seed: int = 10_001) -> float:
    """Mean PSNR in dB over `count` held-out scenes of `size` x `size`."""
    values = []
    for i in range(count):
        image = torch.from_numpy(render(scene_from_seed((seed, size, i)), size, size)).permute(2, 0, 1)[None]
        image = image.to(next(model.parameters()).device).float().div(127.5).sub(1.0)
        values.append(-10.0 * (model(image).clamp(-1, 1) - image).div(2.0).square().mean().log10())
    return float(torch.stack(values).mean())


def main() -> None:
    """Train, log JSON lines, keep checkpoints, and write the folded average to RUN/autoencoder."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=6000)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rate", type=float, default=8e-4)
    parser.add_argument("--noise", type=float, default=0.1)
    parser.add_argument("--start-from", type=Path, help="folder of a stored autoencoder")
    parser.add_argument("--anchor", type=float, default=0.0, help="0 with --start-from: the encoder stays as it is")
    parser.add_argument("--contrast", type=float, default=0.0, help="weight of the edges' contrast in the loss")
    parser.add_argument("--odds", type=float, nargs=3, default=(0.5, 0.2, 0.3), help="of 256, 192 and 128 pixels")
    parser.add_argument("--decay-from", type=float, default=0.4)
    parser.add_argument("--precision", choices=("bf16", "fp32"), default="bf16")
    parser.add_argument("--pause", type=Path, help="sleep between steps while this file exists")
    parser.add_argument("--keep-every", type=int, default=500, help="steps from checkpoint to checkpoint")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    args.run.mkdir(parents=True, exist_ok=True)

    with torch.random.fork_rng(devices=[]):  # layers draw their first weights from the global generator
        torch.manual_seed(args.seed)
        model = ScenesAutoencoder.from_pretrained(args.start_from) if args.start_from else ScenesAutoencoder()
    model = channels_last(model.float()).to(args.device).train()
    first_encoder = fixed_encoder(model) if args.start_from else None
    if args.start_from:
        model.encoder.requires_grad_(args.anchor > 0)
        model.normalize.eval()  # carries the identity: the latents keep their scale
    average = copy.deepcopy(model).requires_grad_(False)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=args.rate, betas=(0.9, 0.99), weight_decay=1e-3)
    modules, optimizers = {"model": model, "average": average}, {"adamw": optimizer}
    start, notes = load_checkpoint(args.run, modules, optimizers)
    pool = render_pool(POOL, args.seed)
    before, spent = notes.get("seconds", 0.0), time.process_time()
    for step in range(start, args.steps):
        wait_while(args.pause)
        adapt_threads(args.threads)
        rng, torch_rng = generators(args.seed, 1, step, args.device)
        images = draw_batch(pool, args.batch, rng, args.odds).to(args.device)
        images = images.contiguous(memory_format=torch.channels_last)
        factor = learning_rate(step, args.steps, min(200, args.steps // 20), args.decay_from)
        optimizer.param_groups[0]["lr"] = args.rate * factor
        with torch.autocast(args.device, torch.bfloat16, enabled=args.precision == "bf16"):
            latents = model.encode_mean(images)
            got = model.decoder(noisy(latents, args.noise, torch_rng))
        loss = reconstruction_loss(got.float(), images) + args.contrast * contrast_loss(got.float(), images)
        if first_encoder is not None and args.anchor > 0:
            loss = loss + args.anchor * (latents.float() - first_encoder(images)).square().mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        average_into(average, model, warm_decay(step, 0.998))
        done, seconds = step + 1, before + time.process_time() - spent
        if done % 100 == 0 or done % args.keep_every == 0:
            line = {"step": done, "cpu_seconds": round(seconds, 1), "loss": loss.item(), "norm": norm.item()}
            if done % 100 == 0:
                line |= {f"psnr{size}": round_trip_psnr(average.eval(), size, 12) for size in (256, 128)}
            with (args.run / "log.jsonl").open("a", encoding="utf-8") as log:
                log.write(json.dumps(line) + "\n")
        if done % args.keep_every == 0 or done == args.steps:
            arguments = {name: str(value) for name, value in vars(args).items()}
            save_checkpoint(args.run, done, modules, optimizers, seconds=seconds, arguments=arguments)
    fold_normalization(average).save_pretrained(args.run / "autoencoder")


if __name__ == "__main__":
    main()
