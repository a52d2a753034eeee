"""The optimizers of the flow: Muon for the matrices inside the blocks, AdamW for everything else."""

import torch
from torch import nn, optim

from .muon import BatchedMuon


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
