"""The pipelines under test: each a real class with tiny random weights, and the arguments of its plain call."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from .tiny import tiny_flux, tiny_sd3  # noqa: E402

PROMPT = "a fox and a balloon"


@dataclass
class Case:
    """A pipeline and the plain call that previews are of."""

    pipe: Any
    call: dict[str, Any]

    def plain(self, seeds: list[int], **changes: Any) -> Any:
        """The user's own call, without commutant."""
        generators = [torch.Generator().manual_seed(s) for s in seeds]
        call = self.call | changes
        prompt = PROMPT
        if len(seeds) > 1:
            prompt = [PROMPT] * len(seeds)
            call = {k: [v] * len(seeds) if k == "negative_prompt" else v for k, v in call.items()}
        return self.pipe(prompt, generator=generators if len(seeds) > 1 else generators[0], **call).images


def _case(name: str) -> Case:
    size = {"height": 64, "width": 96, "num_inference_steps": 6, "max_sequence_length": 16}
    if name == "flux-guided":
        return Case(tiny_flux(guidance_embeds=True), size | {"guidance_scale": 3.0})
    if name == "flux-true-cfg":
        return Case(tiny_flux(), size | {"true_cfg_scale": 3.0, "negative_prompt": "not"})
    if name == "flux-square":
        return Case(tiny_flux(dynamic_shift=False), size | {"height": 64, "width": 64})
    return Case(tiny_sd3(), size | {"guidance_scale": 4.0, "negative_prompt": "not"})


CASES = ("flux-guided", "flux-true-cfg", "flux-square", "sd3-cfg")
_made: dict[str, Case] = {}


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> Case:
    return _made.setdefault(request.param, _case(request.param))


@pytest.fixture
def flux() -> Case:
    return _made.setdefault("flux-true-cfg", _case("flux-true-cfg"))


@pytest.fixture
def sd3() -> Case:
    return _made.setdefault("sd3-cfg", _case("sd3-cfg"))
