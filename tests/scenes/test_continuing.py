"""Training goes on from stored weights: what it may change, what it must not."""

import sys
import threading
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")
pytest.importorskip("transformers")

from safetensors.torch import load_file  # noqa: E402

from commutant.integrations.scenes import WEIGHTS  # noqa: E402
from commutant.integrations.scenes.autoencoder import ScenesAutoencoder  # noqa: E402
from commutant.integrations.scenes.training import autoencoder as training  # noqa: E402
from commutant.integrations.scenes.training.flow import (  # noqa: E402
    draw_size,
    mixed_sizes,
    sizes_needed,
    stored_model,
)
from commutant.integrations.scenes.training.optimizers import orthogonalize  # noqa: E402
from commutant.integrations.scenes.training.threads import wait_while  # noqa: E402


def _trained(folder: Path, monkeypatch: pytest.MonkeyPatch, *more: str) -> ScenesAutoencoder:
    monkeypatch.setattr(training, "POOL", {256: 1, 192: 1, 128: 2})
    words = ["autoencoder", "--run", str(folder), "--start-from", str(WEIGHTS / "vae"), "--steps", "2"]
    words += ["--batch", "2", "--precision", "fp32", "--contrast", "1", "--rate", "1e-5", "--threads", "1", *more]
    monkeypatch.setattr(sys, "argv", words)
    training.main()
    return ScenesAutoencoder.from_pretrained(folder / "autoencoder")


@pytest.mark.parametrize("anchor", [0.0, 10.0])
def test_latents_of_a_continued_autoencoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, anchor: float) -> None:
    first = ScenesAutoencoder.from_pretrained(WEIGHTS / "vae").float().eval()
    after = _trained(tmp_path, monkeypatch, "--anchor", str(anchor)).eval()
    images = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    with torch.no_grad():
        latents, moved = first.encode_mean(images), after.encode_mean(images)
        assert not torch.equal(first.decode(latents).sample, after.decode(latents).sample)
    assert torch.allclose(latents, moved, atol=1e-5) == (anchor == 0)
    assert torch.allclose(latents, moved, atol=0.1)


def test_contrast_loss_prefers_a_misplaced_edge_to_a_soft_one() -> None:
    edge = torch.full((1, 3, 8, 8), -1.0)
    edge[..., 2:] = 1.0
    beside = torch.full((1, 3, 8, 8), -1.0)
    beside[..., 1:] = 1.0
    soft = edge.clone()
    soft[..., 1:3] = torch.tensor([-0.33, 0.33])
    assert training.contrast_loss(edge, edge) == 0
    assert training.contrast_loss(beside, edge) < 1e-3
    assert training.contrast_loss(soft, edge) > 0.01


def test_a_stored_flow_carries_the_exported_weights() -> None:
    model = stored_model(WEIGHTS, seed=0)
    stored = load_file(str(WEIGHTS / "transformer" / "diffusion_pytorch_model.safetensors"))
    own = model.transformer.state_dict()
    assert own.keys() == stored.keys()
    assert all(torch.equal(own[name], value.float()) for name, value in stored.items())


def test_sizes_of_a_single_phase() -> None:
    phases = mixed_sizes("128x128=0.25,256x256=0.75")
    assert sizes_needed(0.0, phases) == sizes_needed(0.9, phases) == ["128x128", "256x256"]
    rng = np.random.default_rng(0)
    drawn = [draw_size(0.1, ["256x256", "128x128"], rng, phases) for _ in range(400)]
    assert 0.7 < drawn.count("256x256") / 400 < 0.8


def test_orthogonalize_computes_in_the_type_asked_for() -> None:
    stack = torch.randn(2, 8, 12, generator=torch.Generator().manual_seed(1))
    got = orthogonalize(stack, torch.float32)
    assert got.dtype == torch.float32
    assert (torch.linalg.svdvals(got) - 1).abs().max() < 0.4


def test_training_waits_while_the_marker_exists(tmp_path: Path) -> None:
    marker = tmp_path / "PAUSE"
    assert wait_while(None) < 0.5
    assert wait_while(marker) < 0.5
    marker.touch()
    threading.Timer(0.5, marker.unlink).start()
    assert wait_while(marker) >= 0.5
    assert not marker.exists()
