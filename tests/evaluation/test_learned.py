"""Networks are built only where everything is there already; what is missing is named, and nothing is fetched."""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from commutant.errors import Refusal
from commutant.integrations.evaluation import learned

from .pictures import blurred, scene

torch = pytest.importorskip("torch")


class Network(torch.nn.Module):
    """Stands in for a package's network: remembers how it was built and called."""

    def __init__(self, **settings: object) -> None:
        super().__init__()
        self.settings = settings

    def forward(self, a: torch.Tensor, b: torch.Tensor, **settings: object) -> torch.Tensor:
        assert a.shape == b.shape == (1, 3, 48, 32)
        assert a.dtype == torch.float32
        assert settings == ({"normalize": True} if self.settings else {})
        return (a - b).abs().mean().reshape(1, 1, 1, 1)


def package(name: str, **contents: object) -> ModuleType:
    module = ModuleType(name)
    module.__spec__ = ModuleSpec(name, None)
    vars(module).update(contents)
    return module


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An environment with the packages and no weights; whoever builds a network without them fails."""
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "environment"))
    monkeypatch.setitem(sys.modules, "torchvision", package("torchvision"))
    monkeypatch.setitem(sys.modules, "lpips", package("lpips", LPIPS=Network))
    monkeypatch.setitem(sys.modules, "DISTS_pytorch", package("DISTS_pytorch", DISTS=Network))
    return tmp_path


def put(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


@pytest.mark.parametrize(
    ("name", "files"),
    [
        ("lpips", ["hub/checkpoints/alexnet-owt-7be5be79.pth"]),
        ("dists", ["hub/checkpoints/vgg16-397923af.pth", "environment/weights.pt"]),
    ],
)
def test_missing_weights_are_named_one_by_one(home: Path, name: str, files: list[str]) -> None:
    for file in files:
        with pytest.raises(Refusal, match=f"nothing is downloaded: put {Path(file).name} at") as refused:
            learned(name)
        assert str(home / file) in str(refused.value)
        put(home / file)
    metric = learned(name)
    image = scene(48, 32)
    assert metric(image, image) == 0.0
    assert metric(blurred(image, 1), image) == pytest.approx(np.abs(blurred(image, 1) - image).mean(), rel=1e-4)
    assert (metric.name, metric.better) == (name, "lower")
    with pytest.raises(ValueError, match="one size"):
        metric(image, image[:16])


def test_missing_packages_are_named(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module, install in (("lpips", "lpips"), ("torchvision", "torchvision"), ("torch", r"commutant\[diffusers\]")):
        real = sys.modules["importlib.util"].find_spec
        with monkeypatch.context() as patch:
            gone = lambda name, real=real, module=module: None if name == module else real(name)  # noqa: E731
            patch.setattr("importlib.util.find_spec", gone)
            with pytest.raises(Refusal, match=f"needs {module}, which is not installed: pip install '{install}'"):
                learned("lpips")


def test_what_would_download_is_refused() -> None:
    with pytest.raises(Refusal, match="dreamsim is not supported: its package fetches"):
        learned("dreamsim")
    with pytest.raises(ValueError, match="unknown network 'psnr'; there are lpips, dists"):
        learned("psnr")
