"""The page's own lines, run in order, with the published samplers under the name that the page imports."""

import re
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

from .worlds import SAMPLERS, plain, sampling

PAGE = Path(__file__).resolve().parents[2] / "docs" / "k-diffusion.md"


def test_the_page_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    published = sampling()
    monkeypatch.setitem(sys.modules, "k_diffusion", ModuleType("k_diffusion"))
    monkeypatch.setitem(sys.modules, "k_diffusion.sampling", published)
    monkeypatch.chdir(tmp_path)
    space: dict = {}
    before = torch.get_rng_state()
    first, second = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    exec(first, space)
    result, model, sigmas = space["result"], space["model"], space["sigmas"]
    assert result.latent.shape == (1, 4, 32, 32)
    assert f"# {result.evaluations}\n" in first
    torch.set_rng_state(before)
    x = torch.randn(1, 4, 64, 64) * sigmas[0]
    expected = plain(SAMPLERS["sample_dpmpp_2m_sde"], model, x, sigmas, extra_args={"shift": 0.1})
    assert torch.equal(space["latent"], expected)
    assert (tmp_path / "seed-3.tape").exists()
    exec(second, space)
    assert space["low"].shape == (1, 4, 32, 32)
    assert bool(torch.isfinite(space["low"]).all())
