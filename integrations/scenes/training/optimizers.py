"""How the flow's weights move: Muon and AdamW, the rate's schedule, weight averages, and the generators of a step.

Muon is for the matrices inside the blocks, AdamW for everything else. `BatchedMuon` is `torch.optim.Muon` with its
Newton-Schulz iteration batched over matrices of one shape: the same update, fewer calls. The stock optimizer
orthogonalises one matrix at a time; with some sixty small matrices on a CPU that costs a seventh of a training step.
"""

import math
from collections import defaultdict

import numpy as np
import torch
from torch import Tensor, nn, optim

_A, _B, _C = 3.4445, -4.7750, 2.0315  # quintic of Jordan's Muon


def orthogonalize(stack: Tensor, dtype: torch.dtype = torch.bfloat16, steps: int = 5) -> Tensor:
    """Bring the singular values of every matrix in [n, rows, cols], rows <= cols, near 1; computed in `dtype`."""
    x = stack.to(dtype)
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)
    for _ in range(steps):
        gram = torch.bmm(x, x.mT)
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=_B, alpha=_C), x, beta=_A)
    return x


class BatchedMuon(optim.Muon):
    """Muon for 2-D parameters; state and hyperparameters are those of `torch.optim.Muon` with "match_rms_adamw".

    `compute` is the type of the iteration: bf16 is the usual one, and sixty times slower than fp32 on a CPU without it.
    """

    compute: torch.dtype = torch.bfloat16

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        """Update every parameter that has a gradient; closures are not supported."""
        if closure is not None:
            raise ValueError("BatchedMuon takes no closure")
        for group in self.param_groups:
            shaped: dict[tuple[int, int], list[tuple[Tensor, Tensor, bool]]] = defaultdict(list)
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                if "momentum_buffer" not in state:
                    state["momentum_buffer"] = torch.zeros_like(parameter)
                state["momentum_buffer"].lerp_(parameter.grad, 1.0 - group["momentum"])
                update = parameter.grad.lerp(state["momentum_buffer"], group["momentum"])
                tall = update.shape[0] > update.shape[1]
                update = update.mT if tall else update
                shaped[tuple(update.shape)].append((parameter, update, tall))
            for (_, long_side), members in shaped.items():
                directions = orthogonalize(torch.stack([update for _, update, _ in members]), self.compute)
                for (parameter, _, tall), direction in zip(members, directions):
                    parameter.mul_(1.0 - group["lr"] * group["weight_decay"])
                    scale = -group["lr"] * 0.2 * long_side**0.5
                    parameter.add_((direction.mT if tall else direction).float(), alpha=scale)


def flow_optimizers(
    model: nn.Module, rate: float, muon: bool, compute: torch.dtype = torch.bfloat16
) -> dict[str, optim.Optimizer]:
    """Name -> optimizer. With `muon`, the 2-D weights of attention and feed-forward layers go to Muon.

    `compute` is the type of Muon's iteration. Its update is scaled to AdamW's root mean square, so one rate serves
    both; embeddings, modulations, norms, biases, text encoders and the input and output layers stay with AdamW. Each
    group keeps its peak rate in `peak`.
    """
    matrices, rest = [], []
    for name, parameter in model.named_parameters():
        inner = "transformer_blocks" in name and parameter.ndim == 2 and ".norm" not in name
        (matrices if inner and muon else rest).append(parameter)
    made: dict[str, optim.Optimizer] = {
        "adamw": optim.AdamW(rest, lr=rate, betas=(0.9, 0.97), weight_decay=1e-2, foreach=True)
    }
    if matrices:
        muon_optimizer = BatchedMuon(matrices, lr=rate, weight_decay=1e-2, adjust_lr_fn="match_rms_adamw")
        muon_optimizer.compute = compute
        made["muon"] = muon_optimizer
    for optimizer, peak in zip(made.values(), (rate, 2.0 * rate)):
        for group in optimizer.param_groups:
            group["peak"] = peak
    return made


def set_rate(optimizers: dict[str, optim.Optimizer], factor: float) -> None:
    """Set every group's rate to `factor` times its peak."""
    for optimizer in optimizers.values():
        for group in optimizer.param_groups:
            group["lr"] = group["peak"] * factor


def step_all(optimizers: dict[str, optim.Optimizer], model: nn.Module, clip: float) -> float:
    """Clip the gradient norm, step every optimizer, clear the gradients; return the norm before clipping."""
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
    for optimizer in optimizers.values():
        optimizer.step()
    model.zero_grad(set_to_none=True)
    return norm.item()


@torch.no_grad()
def average_into(average: nn.Module, model: nn.Module, decay: float) -> None:
    """Move `average` towards `model`: parameters by the factor 1 - decay, buffers are copied."""
    torch._foreach_lerp_(list(average.parameters()), list(model.parameters()), 1.0 - decay)
    for old, new in zip(average.buffers(), model.buffers(), strict=True):
        old.copy_(new)


def warm_decay(step: int, limit: float) -> float:
    """Decay of an exponential average that starts as a plain mean: min(limit, (step + 1) / (step + 10))."""
    return min(limit, (step + 1) / (step + 10))


def learning_rate(step: int, steps: int, warmup: int, decay_from: float) -> float:
    """Trapezoid in 0..1: linear warm-up, constant, then a cosine to zero from the share `decay_from` of the steps."""
    if step < warmup:
        return (step + 1) / warmup
    done = step / steps
    if done <= decay_from:
        return 1.0
    return 0.5 * (1.0 + math.cos(math.pi * min((done - decay_from) / (1.0 - decay_from), 1.0)))


def generators(seed: int, stream: int, step: int, device: str = "cpu") -> tuple[np.random.Generator, torch.Generator]:
    """Return the (NumPy, torch) generators of one training step: a resumed run draws what an unbroken run draws."""
    sequence = np.random.SeedSequence([seed, stream, step])
    drawn = torch.Generator(device).manual_seed(int(sequence.generate_state(1, np.uint64)[0] >> np.uint64(1)))
    return np.random.default_rng(sequence), drawn


def channels_last(model: nn.Module) -> nn.Module:
    """Put a convolutional model into the memory layout that bf16 convolutions are fast in."""
    return model.to(memory_format=torch.channels_last)
