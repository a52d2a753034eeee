"""Training helpers shared by the trainers: weight averages, the learning-rate schedule and step-wise generators."""

import math

import numpy as np
import torch
from torch import nn


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
