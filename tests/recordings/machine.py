"""What a recording was made on: bits agree between equal descriptions only."""

from __future__ import annotations

import platform
from importlib.metadata import version

import torch


def described() -> str:
    libraries = ", ".join(
        f"{name} {version(name)}" for name in ("torch", "diffusers", "transformers", "numpy", "scipy")
    )
    return f"{platform.machine()} with {torch.backends.cpu.get_cpu_capability()}, {libraries}"
