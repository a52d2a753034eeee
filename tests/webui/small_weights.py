"""Weights of the small models that the real programs are given."""

import torch


def randomise(module):
    """Weights that keep the size of what passes: zero-initialised layers would hide half of the model."""
    for name, weight in module.named_parameters():
        with torch.no_grad():
            if weight.ndim > 1:
                weight.normal_(0.0, 1.0 / weight[0].numel() ** 0.5)
            else:
                weight.fill_(1.0 if name.endswith("weight") else 0.0)
