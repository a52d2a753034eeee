"""One training step of the flow: which size, which scenes, which times, and the loss.

The path is x_t = (1 - t) x_0 + t noise with the velocity noise - x_0 as the target: FLUX's convention.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from .models import ScenesFlow, shift_of
from .pool import TOKEN

UNIFORM_SHARE = 0.2  # of the times: a shifted logit-normal alone hardly visits the last, sharpening steps
DROP_PROMPT = 0.08


@dataclass(frozen=True)
class Phase:
    """A part of training, until the share `until` of all steps: odds per size (HEIGHTxWIDTH)."""

    until: float
    odds: dict[str, float]


PHASES = (
    Phase(0.28, {"128x128": 1.0}),
    Phase(0.42, {"128x128": 0.3, "192x192": 0.15, "256x256": 0.55}),
    Phase(1.0, {"128x128": 0.17, "192x192": 0.08, "256x256": 0.75}),
)


def sizes_needed(done: float, phases: tuple[Phase, ...] = PHASES) -> list[str]:
    """Sizes that the phase at the share `done` of training draws from."""
    return list(next(phase for phase in phases if done < phase.until or phase.until >= 1.0).odds)


def grid_of(size: str) -> tuple[int, int]:
    """Token rows and columns of "HEIGHTxWIDTH"."""
    height, width = map(int, size.split("x"))
    return height // TOKEN, width // TOKEN


def mixed_sizes(odds: str) -> tuple[Phase, ...]:
    """One phase from "128x128=0.3,256x256=0.7"; raises ValueError for other forms."""
    pairs = [entry.split("=") for entry in odds.split(",")]
    return (Phase(1.0, {size: float(share) for size, share in pairs}),)


def draw_size(done: float, available: list[str], rng: np.random.Generator, phases: tuple[Phase, ...] = PHASES) -> str:
    """Draw a size for one step from the current phase, among the sizes whose pools exist."""
    phase = next(phase for phase in phases if done < phase.until or phase.until >= 1.0)
    sizes = [size for size in phase.odds if size in available] or available[:1]
    odds = np.array([phase.odds.get(size, 1.0) for size in sizes])
    return sizes[int(rng.choice(len(sizes), p=odds / odds.sum()))]


def draw_times(count: int, tokens: int, rng: torch.Generator, device: torch.device, lift: float = 1.0) -> Tensor:
    """Times [count] in (0, 1): logit-normal with `lift` times the shift of `tokens`, a share of them uniform."""
    normal = torch.randn(count, generator=rng, device=device)
    uniform = torch.rand(count, generator=rng, device=device).clamp(1e-3, 1 - 1e-3)
    shifted = torch.sigmoid(normal + math.log(lift * shift_of(tokens)))
    pick = torch.rand(count, generator=rng, device=device) < UNIFORM_SHARE
    return torch.where(pick, uniform, shifted)


@dataclass
class Batch:
    """Latents [B, T, 64] in fp32, token ids [B, L], layout targets [B, T] and [B, T, 2], and the token grid."""

    latents: Tensor
    clip_ids: Tensor
    t5_ids: Tensor
    kind: Tensor
    offset: Tensor
    side: tuple[int, int]


def draw_batch(
    pool: dict[str, Tensor], size: str, count: int, empty: tuple[Tensor, Tensor], rng: np.random.Generator, device: str
) -> Batch:
    """Draw `count` scenes of one size; a share of the prompts becomes the empty prompt (ids in `empty`)."""
    index = torch.from_numpy(rng.integers(len(pool["latents"]), size=count))
    drop = torch.from_numpy(rng.random(count) < DROP_PROMPT)[:, None]
    clip_ids = torch.where(drop, empty[0], pool["clip_ids"][index].long())
    t5_ids = torch.where(drop, empty[1], pool["t5_ids"][index].long())
    latents, kind, offset = (pool[name][index] for name in ("latents", "kind", "offset"))
    tensors = (latents.float(), clip_ids, t5_ids, kind.long(), offset.float())
    return Batch(*(tensor.to(device) for tensor in tensors), side=grid_of(size))


def flow_loss(
    model: ScenesFlow, batch: Batch, rng: torch.Generator, layout_weight: float, bf16: bool = True, lift: float = 1.0
) -> tuple[Tensor, dict[str, float]]:
    """Return the loss to minimise (scalar) and its parts by name."""
    latents = batch.latents
    t = draw_times(len(latents), latents.shape[1], rng, latents.device, lift)
    noise = torch.randn(latents.shape, generator=rng, device=latents.device)
    x = torch.lerp(latents, noise, t[:, None, None])
    with torch.autocast(latents.device.type, torch.bfloat16, enabled=bf16):
        velocity, logits, offset = model.forward_with_layout(x, t, batch.clip_ids, batch.t5_ids, batch.side)
    flow = (velocity.float() - (noise - latents)).square().mean()
    kind = F.cross_entropy(logits.flatten(0, 1), batch.kind.flatten())
    covered = (batch.kind > 0)[..., None]
    place = ((offset - batch.offset).square() * covered).sum() / covered.sum().clamp(min=1)
    total = flow + layout_weight * (kind + place)
    return total, {"flow": flow.item(), "kind": kind.item(), "place": place.item()}
