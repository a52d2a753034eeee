"""`torch.optim.Muon` with its Newton-Schulz iteration batched over matrices of one shape: the same update, fewer calls.

The stock optimizer orthogonalises one matrix at a time; with some sixty small matrices on a CPU that costs a seventh of
a training step.
"""

from collections import defaultdict

import torch
from torch import Tensor, optim

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
