"""Train transformer and text encoders of `scenes` on the latent pools.

    python -m commutant.integrations.scenes.training.flow --run RUN_FOLDER --pool POOL_FOLDER --steps 6000

Resumes by itself from RUN_FOLDER. Every step draws from its own generators, so that a resumed run equals an unbroken
one (on one thread count). A revised --steps re-times the phases and the decay of the rate. The path is
x_t = (1 - t) x_0 + t noise with the velocity noise - x_0 as the target: FLUX's convention.
"""

import argparse
import copy
import json
import math
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn, optim
from torch.nn import functional as F

from .. import load_scenes
from .checkpoint import load_checkpoint, save_checkpoint
from .network import ScenesFlow, compile_blocks, shift_of
from .optimizers import average_into, flow_optimizers, generators, learning_rate, set_rate, step_all, warm_decay
from .pool import TOKEN, load_pool, token_ids
from .threads import adapt_threads, wait_while

STREAM = 2
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


def fresh_model(seed: int, **shape: int) -> ScenesFlow:
    """A new model whose weights depend on `seed` alone; the global generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return ScenesFlow(**shape)


def stored_model(folder: Path, seed: int) -> ScenesFlow:
    """The exported weights in `folder` in fp32, with a layout head from `seed` (exports have none)."""
    model, stored = fresh_model(seed), load_scenes(torch.float32, folder=folder)
    for name in ("transformer", "text_encoder", "text_encoder_2"):
        getattr(model, name).load_state_dict(getattr(stored, name).state_dict())
    return model


@dataclass
class Trainer:
    """State of one run: the model, its weight average, the optimizers, and the pools loaded so far."""

    model: ScenesFlow
    steps: int
    tokens: int = 4096  # image tokens a batch
    batches: int = 1  # batches an optimizer step, each of a size drawn for itself
    rate: float = 1e-3
    muon: bool = True
    decay: float = 0.999
    decay_from: float = 0.6
    warmup: int = 100
    layout_weight: float = 0.1
    layout_warmup: int = 0  # steps in which its weight on the network rises from 0: for a new head on a trained network
    phases: tuple[Phase, ...] = PHASES
    lift: float = 1.0  # on the shift of the times
    bf16: bool = True
    seed: int = 0
    device: str = "cpu"
    pools: dict[str, dict[str, Tensor]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.model.to(self.device)
        self.average = copy.deepcopy(self.model).requires_grad_(False).eval()
        self.optimizers: dict[str, optim.Optimizer] = flow_optimizers(
            self.model, self.rate, self.muon, torch.bfloat16 if self.bf16 else torch.float32
        )
        self.empty = token_ids([""])

    @property
    def modules(self) -> dict[str, nn.Module]:
        """What a checkpoint stores beside the optimizers."""
        return {"model": self.model, "average": self.average}

    def step(self, step: int) -> list[dict[str, float | str]]:
        """Run optimizer step number `step` (from 0) and return the figures of each of its batches."""
        rng, torch_rng = generators(self.seed, STREAM, step, self.device)
        set_rate(self.optimizers, learning_rate(step, self.steps, self.warmup, self.decay_from))
        layout_weight = self.layout_weight * min(1.0, (step + 1) / max(self.layout_warmup, 1))
        figures: list[dict[str, float | str]] = []
        for _ in range(self.batches):
            size = draw_size(step / self.steps, list(self.pools), rng, self.phases)
            rows, cols = grid_of(size)
            count = max(1, round(self.tokens / (rows * cols)))
            batch = draw_batch(self.pools[size], size, count, self.empty, rng, self.device)
            loss, parts = flow_loss(self.model, batch, torch_rng, layout_weight, self.bf16, self.lift)
            (loss / self.batches).backward()
            figures.append({"size": size, **parts})
        norm = step_all(self.optimizers, self.model, 1.0)
        average_into(self.average, self.model, warm_decay(step, self.decay))
        return [{**entry, "norm": norm} for entry in figures]

    def load_pools(self, folder: Path, done: float) -> None:
        """Load the pools of the current phase that exist on disk and are not in memory yet."""
        for size in sizes_needed(done, self.phases):
            if size not in self.pools and (folder / f"{size}.safetensors").exists():
                self.pools[size] = load_pool(folder, *map(int, size.split("x")))


class Log:
    """Averages the figures per size over some steps and appends them as JSON lines."""

    def __init__(self, path: Path):
        self.path = path
        self.sums: dict[str, list[dict]] = {}

    def add(self, figures: dict) -> None:
        """Keep one step's figures."""
        self.sums.setdefault(figures["size"], []).append(figures)

    def write(self, **head: float) -> None:
        """Append one line a size and start over."""
        with self.path.open("a", encoding="utf-8") as log:
            for size, rows in self.sums.items():
                mean = {k: round(sum(row[k] for row in rows) / len(rows), 4) for k in rows[0] if k != "size"}
                log.write(json.dumps({**head, "size": size, "count": len(rows), **mean}) + "\n")
        self.sums.clear()


def main() -> None:
    """Train until --steps."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--pool", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=6000)
    parser.add_argument("--until", type=int, help="stop after this step although the schedule goes on to --steps")
    parser.add_argument("--tokens", type=int, default=4096)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--optimizer", choices=("muon", "adamw"), default="muon")
    parser.add_argument("--batches", type=int, default=1, help="batches of --tokens an optimizer step")
    parser.add_argument("--decay-from", type=float, default=0.6)
    parser.add_argument("--start-from", type=Path, help="folder of exported weights to go on from")
    parser.add_argument("--odds", help="sizes throughout, for example 128x128=0.3,256x256=0.7 (default: in phases)")
    parser.add_argument("--lift", type=float, default=1.0, help="factor on the shift of the times: above 1, more noise")
    parser.add_argument("--precision", choices=("bf16", "fp32"), default="bf16")
    parser.add_argument("--pause", type=Path, help="sleep between steps while this file exists")
    parser.add_argument("--keep-every", type=int, default=250, help="steps from checkpoint to checkpoint")
    parser.add_argument("--log-every", type=int, default=50)
    parser.add_argument("--layout-weight", type=float, default=0.1)
    parser.add_argument("--average", type=float, default=0.999)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--no-compile", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    args.run.mkdir(parents=True, exist_ok=True)
    trainer = Trainer(
        stored_model(args.start_from, args.seed) if args.start_from else fresh_model(args.seed),
        steps=args.steps,
        tokens=args.tokens,
        batches=args.batches,
        rate=args.rate,
        muon=args.optimizer == "muon",
        decay=args.average,
        decay_from=args.decay_from,
        layout_weight=args.layout_weight,
        layout_warmup=200 if args.start_from else 0,
        phases=mixed_sizes(args.odds) if args.odds else PHASES,
        lift=args.lift,
        bf16=args.precision == "bf16",
        seed=args.seed,
        device=args.device,
    )
    start, notes = load_checkpoint(args.run, trainer.modules, trainer.optimizers)
    if not args.no_compile:
        compile_blocks(trainer.model.transformer, args.threads)
    log, began, before = Log(args.run / "log.jsonl"), time.process_time(), notes.get("seconds", 0.0)
    for step in range(start, args.until or args.steps):
        if step == start or step % 50 == 0:
            trainer.load_pools(args.pool, step / args.steps)
        wait_while(args.pause)
        if args.device == "cpu":
            adapt_threads(args.threads)
        for figures in trainer.step(step):
            log.add(figures)
        done, seconds = step + 1, before + time.process_time() - began
        if done % args.log_every == 0:
            log.write(step=done, cpu_seconds=round(seconds, 1))
        if done % args.keep_every == 0 or done == (args.until or args.steps):
            save_checkpoint(args.run, done, trainer.modules, trainer.optimizers, seconds=seconds)


if __name__ == "__main__":
    main()
