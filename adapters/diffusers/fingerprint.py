"""Telling one model from another without reading all of it."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import torch

from .schedulers import settled

SAMPLES = 16  # values read per tensor, evenly spaced: enough to tell any two trained tensors apart


def fingerprint(pipe: Any) -> str:
    """A short hash of a pipeline: class, configurations, dtypes, device kind, and a few values of every weight.

    Two pipelines with the same fingerprint give the same images, up to the machine they run on. Loading a LoRA, another
    checkpoint, another dtype or another scheduler configuration changes it.
    """
    digest = hashlib.sha256(type(pipe).__name__.encode())
    for name, component in sorted(pipe.components.items()):
        digest.update(f"\n{name}:{type(component).__name__}".encode())
        config = getattr(component, "config", None)
        if config is not None and not isinstance(component, torch.nn.Module):
            digest.update(_stable(settled(component)))
        if isinstance(component, torch.nn.Module):
            digest.update(_weights(component))
    digest.update(pipe.device.type.encode())
    return digest.hexdigest()[:32]


def _stable(config: dict[str, Any]) -> bytes:
    plain = {k: v for k, v in config.items() if not k.startswith("_")}
    return json.dumps(plain, sort_keys=True, default=str).encode()


def _weights(module: torch.nn.Module) -> bytes:
    digest = hashlib.sha256()
    for key, tensor in module.state_dict().items():
        if not isinstance(tensor, torch.Tensor):
            continue
        digest.update(f"{key}{tuple(tensor.shape)}{tensor.dtype}".encode())
        if tensor.device.type != "meta" and tensor.numel():
            at = torch.linspace(0, tensor.numel() - 1, min(SAMPLES, tensor.numel())).long()
            values = tensor.detach().reshape(-1)[at.to(tensor.device)].cpu()
            digest.update(values.contiguous().view(torch.uint8).numpy().tobytes())
    return digest.digest()
