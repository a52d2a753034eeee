"""Metrics that are networks: LPIPS and DISTS, for a user who has the package and its weights already.

Nothing is ever downloaded: what is not there is refused by name before the package could fetch it. The packages read
their own files with `torch.load`, which takes weights only from torch 2.6 on.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ....errors import Refusal
from . import Metric
from .pictures import Picture, pair


@dataclass(frozen=True)
class _Network:
    """A package, the files it would fetch or miss, and how it is built and called."""

    title: str
    module: str
    install: str
    about: str
    backbone: str  # in torch.hub's checkpoints folder
    beside: tuple[str, ...]  # in the environment's folder
    build: Callable[[Any], Any]
    call: Callable[[Any, Any, Any], Any]


_NETWORKS = {
    "lpips": _Network(
        title="LPIPS",
        module="lpips",
        install="lpips",
        about="distance of AlexNet's features, weighted as people judged (Zhang et al. 2018)",
        backbone="alexnet-owt-7be5be79.pth",
        beside=(),
        build=lambda package: package.LPIPS(net="alex", verbose=False),
        call=lambda network, a, b: network(a, b, normalize=True),
    ),
    "dists": _Network(
        title="DISTS",
        module="DISTS_pytorch",
        install="DISTS-pytorch",
        about="structure and texture of VGG's features (Ding et al. 2020)",
        backbone="vgg16-397923af.pth",
        beside=("weights.pt",),
        build=lambda package: package.DISTS(),
        call=lambda network, a, b: network(a, b),
    ),
}
_REFUSED = {
    "dreamsim": "its package fetches weights and model code from the network as it is built; wrap a model of your own "
    "in an evaluation.Metric",
}


def learned(name: str) -> Metric:
    """The metric "lpips" or "dists", built once; lower is better for both, 0 for equal pictures. On the CPU.

    Raises:
        Refusal: for "dreamsim", and where torch, the package or a file of weights is missing, which it names.
        ValueError: for another name.
    """
    if name in _REFUSED:
        raise Refusal(f"{name} is not supported: {_REFUSED[name]}")
    if name not in _NETWORKS:
        raise ValueError(f"unknown network {name!r}; there are {', '.join(_NETWORKS)}")
    network = _NETWORKS[name]
    for module, install in (("torch", "commutant[diffusers]"), ("torchvision", "torchvision"), _package(network)):
        if importlib.util.find_spec(module) is None:
            raise Refusal(f"{name} needs {module}, which is not installed: pip install '{install}'")
    import torch

    folder = Path(torch.hub.get_dir()) / "checkpoints"
    for path in (folder / network.backbone, *(Path(sys.prefix) / file for file in network.beside)):
        if not path.is_file():
            raise Refusal(
                f"{name} needs weights that are not here, and nothing is downloaded: put {path.name} at {path}"
            )
    built = network.build(importlib.import_module(network.module)).eval()

    def value(image: Picture, reference: Picture) -> float:
        with torch.no_grad():
            a, b = (torch.from_numpy(x).permute(2, 0, 1)[None].float() for x in pair(image, reference))
            return float(network.call(built, a, b))

    return Metric(name, network.title, value, "lower", True, network.about)


def _package(network: _Network) -> tuple[str, str]:
    return network.module, network.install
