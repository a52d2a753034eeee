"""A model that answers with no numbers is refused at its first such answer, and nothing is recorded of it."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from commutant.adapters.diffusers import NonFiniteError, Previewer

from ..commutator.plans import low
from .conftest import PROMPT, Case
from .tiny import tiny_flux

CALL = {"height": 64, "width": 64, "num_inference_steps": 4, "max_sequence_length": 16}


def test_a_broken_weight() -> None:
    pipe = tiny_flux()
    with torch.no_grad():
        pipe.transformer.proj_out.weight[0, 0] = float("nan")
    with pytest.raises(NonFiniteError, match=r"evaluation 1 of this run \(timestep 1000\).*float16"):
        Previewer(pipe).preview(PROMPT, seeds=[1], plan=low(1), progress=False, **CALL)


@pytest.mark.parametrize("scale", [1e38, float("inf")])
def test_guidance_without_bounds(flux: Case, scale: float) -> None:
    call = flux.call | {"true_cfg_scale": scale}
    with pytest.raises(NonFiniteError, match="guidance scale"):
        Previewer(flux.pipe).preview(PROMPT, seeds=[1], plan=low(2), progress=False, **call)


@pytest.mark.parametrize(("at", "seen"), [(2, "evaluation 2 of"), (3, "evaluation 1 of"), (4, "evaluation 2 of")])
def test_the_evaluation_is_named(at: int, seen: str) -> None:
    """In the head, at the tail's first and a later evaluation. The finish: counted in the final's own."""
    pipe, calls = tiny_flux(), []

    def broken(module: Any, args: Any, out: Any) -> Any:
        calls.append(1)
        return (out[0] * float("inf"),) if len(calls) == at else out

    handle = pipe.transformer.register_forward_hook(broken)
    with pytest.raises(NonFiniteError, match=seen):
        Previewer(pipe).preview(PROMPT, seeds=[1], plan=low(2), progress=False, **CALL)
    calls[:] = [1] * 1000
    (item,) = Previewer(pipe).preview(PROMPT, seeds=[1], plan=low(2), progress=False, **CALL)
    calls[:] = [1] * (at - 1)
    with pytest.raises(NonFiniteError, match="evaluation 3 of"):
        Previewer(pipe).finish(item)
    handle.remove()
