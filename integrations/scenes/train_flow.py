"""Train transformer and text encoders of `scenes` on the latent pools.

    python -m commutant.integrations.scenes.train_flow --run RUN_FOLDER --pool POOL_FOLDER --steps 6000

Resumes by itself from RUN_FOLDER. Every step draws from its own generators, so that a resumed run equals an unbroken
one (on one thread count). A revised --steps re-times the phases and the decay of the rate.
"""

import argparse
import copy
import json
import time
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn, optim

from .averaging import average_into, generators, learning_rate, warm_decay
from .checkpoint import load_checkpoint, save_checkpoint
from .compiling import compile_blocks
from .flow_step import PHASES, Phase, draw_batch, draw_size, flow_loss, grid_of, mixed_sizes, sizes_needed
from .load import load_scenes
from .models import ScenesFlow
from .optimizers import flow_optimizers, set_rate, step_all
from .pool import load_pool, token_ids
from .threads import adapt_threads, wait_while

STREAM = 2


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
