"""After any call or exception, the pipeline, its scheduler, its model and the global RNG are as before."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
import torch

from commutant.adapters.diffusers import Previewer
from commutant.commutator import preset

from .conftest import PROMPT, Case


def state(pipe: Any) -> dict[str, Any]:
    """Everything that must not change, in comparable form."""
    return {
        "pipe": dict(vars(pipe)),
        "scheduler": dict(vars(pipe.scheduler)),
        "scheduler class": type(pipe.scheduler),
        # The empty hook registry is made by diffusers' own cache_context in any plain call.
        "transformer": {k: v for k, v in vars(pipe.transformer).items() if k != "_diffusers_hook"},
        "torch": torch.get_rng_state(),
        "numpy": np.random.get_state()[1],  # noqa: NPY002 - the global state is what is checked
        "python": random.getstate(),
    }


def same(a: Any, b: Any) -> bool:
    if isinstance(a, dict):
        return isinstance(b, dict) and list(a) == list(b) and all(same(a[k], b[k]) for k in a)
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and torch.equal(a, b)
    if isinstance(a, np.ndarray):
        return bool(np.array_equal(a, b))
    return a is b or a == b


class Boom(Exception):
    pass


def failing_denoiser(case: Case, call_number: int, calls: dict[str, int] | None = None):
    """A forward hook that raises at the given model call, counted in `calls`; returns its handle."""
    calls = {"n": 0} if calls is None else calls

    def hook(module: Any, args: Any, kwargs: Any) -> None:
        calls["n"] += 1
        if calls["n"] == call_number:
            raise Boom

    return case.pipe.transformer.register_forward_pre_hook(hook, with_kwargs=True)


def test_after_preview_and_finish(case: Case) -> None:
    previewer = Previewer(case.pipe)
    before = state(case.pipe)
    sheet = previewer.preview(PROMPT, seeds=[1, 2], plan="paper", progress=False, **case.call)
    assert same(before, state(case.pipe))
    previewer.finish(sheet[0])
    assert same(before, state(case.pipe))


# True CFG calls the Flux model twice per evaluation: heads are calls 1-6, candidates 7-14, the tail follows.
@pytest.mark.parametrize("call_number", [1, 4, 8, 16, 20], ids=["first", "head", "candidate", "guided", "tail"])
def test_after_an_exception_in_the_model(flux: Case, call_number: int) -> None:
    previewer = Previewer(flux.pipe)
    previewer.preview(PROMPT, seeds=[1], progress=False, **flux.call)
    handle = failing_denoiser(flux, call_number)
    before = state(flux.pipe)
    try:
        with pytest.raises(Boom):
            previewer.preview(PROMPT, seeds=[1], plan="paper", progress=False, **flux.call)
        assert same(before, state(flux.pipe))
    finally:
        handle.remove()
    plain = flux.plain([1], output_type="latent")[0]
    (item,) = previewer.preview(PROMPT, seeds=[1], plan="paper", progress=False, **flux.call)
    assert torch.equal(previewer.finish([item], output_type="latent")[0].image, plain)


def test_after_an_exception_in_a_finish(flux: Case) -> None:
    previewer = Previewer(flux.pipe)
    armed = {"n": -1000}
    handle = failing_denoiser(flux, 2, armed)  # before the preview: another hook is another model
    (item,) = previewer.preview(PROMPT, seeds=[1], progress=False, **flux.call)
    before = state(flux.pipe)
    armed["n"] = 0
    try:
        with pytest.raises(Boom):
            previewer.finish(item)
        assert same(before, state(flux.pipe))
    finally:
        handle.remove()


def test_after_keyboard_interrupt_in_a_callback(flux: Case) -> None:
    def callback(pipe: Any, step: int, t: Any, values: Any) -> Any:
        raise KeyboardInterrupt

    before = state(flux.pipe)
    with pytest.raises(KeyboardInterrupt):
        Previewer(flux.pipe).preview(PROMPT, seeds=[1], progress=False, callback_on_step_end=callback, **flux.call)
    assert same(before, state(flux.pipe))


def test_a_stream_left_half_way_leaves_nothing_behind(flux: Case) -> None:
    before = state(flux.pipe)
    stream = Previewer(flux.pipe, batch_size=1).stream(PROMPT, seeds=[1, 2, 3], progress=False, **flux.call)
    next(stream)
    assert same(before, state(flux.pipe))
    stream.close()
    assert same(before, state(flux.pipe))


def test_public_attributes_set_by_a_callback_stay(flux: Case) -> None:
    def callback(pipe: Any, step: int, t: Any, values: Any) -> Any:
        pipe.steps_seen = getattr(pipe, "steps_seen", 0) + 1
        return values

    Previewer(flux.pipe).preview(PROMPT, seeds=[1], progress=False, callback_on_step_end=callback, **flux.call)
    try:
        assert flux.pipe.steps_seen > 0
    finally:
        del flux.pipe.steps_seen


def test_a_compiled_slot_is_put_back(flux: Case) -> None:
    """`module.compile()` uses the slot that the gate stands in."""
    calls = []

    def compiled(*args: Any, **kwargs: Any) -> Any:
        calls.append(1)
        return flux.pipe.transformer._call_impl(*args, **kwargs)

    slot = vars(flux.pipe.transformer)
    slot["_compiled_call_impl"] = compiled
    try:
        (item,) = Previewer(flux.pipe).preview(PROMPT, seeds=[1], progress=False, **flux.call)
        assert slot["_compiled_call_impl"] is compiled
        assert len(calls) == item.cost.high + item.cost.low
    finally:
        del slot["_compiled_call_impl"]


def test_the_comparison_can_fail(flux: Case) -> None:
    before = state(flux.pipe)
    flux.pipe.scheduler.set_timesteps(3, mu=0.5)
    assert not same(before, state(flux.pipe))
    before = state(flux.pipe)
    torch.rand(1)
    assert not same(before, state(flux.pipe))


def test_counts_agree_with_the_model(case: Case) -> None:
    """Costs are checked against a hook on the model itself."""
    rows = {"high": 0, "low": 0}
    height, width = case.call["height"] // 8, case.call["width"] // 8
    high = height * width // 4 if type(case.pipe).__name__ == "FluxPipeline" else height

    def hook(module: Any, args: Any, kwargs: Any) -> None:
        hidden = kwargs["hidden_states"]
        size = hidden.shape[1] if hidden.ndim == 3 else hidden.shape[2]
        rows["high" if size == high else "low"] += hidden.shape[0]

    handle = case.pipe.transformer.register_forward_pre_hook(hook, with_kwargs=True)
    try:
        for name in ("paper", "matched", "direct"):
            rows.update(high=0, low=0)
            sheet = Previewer(case.pipe, batch_size=3).preview(
                PROMPT, seeds=[1, 2, 3, 4], plan=name, progress=False, **case.call
            )
            assert (sheet.cost.high, sheet.cost.low) == (rows["high"], rows["low"])
        rows.update(high=0)
        case.plain([1])
        assert sheet[0].cost.full == rows["high"]
    finally:
        handle.remove()
    assert preset("matched", 6).recorded_steps < 6
