"""Transformer caches: a finish is the plain cached call, previews run beside it, and every part has its own memory."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import (
    FasterCacheConfig,
    FirstBlockCacheConfig,
    MagCacheConfig,
    PyramidAttentionBroadcastConfig,
    TaylorSeerCacheConfig,
    UniPCMultistepScheduler,
)
from diffusers.hooks import apply_first_block_cache

from commutant.adapters.diffusers import PipelineField, Previewer, UnsupportedError
from commutant.adapters.diffusers.caches import ALONE, Caches, phases, stateful_hooks
from commutant.adapters.diffusers.head import HeadLoop
from commutant.adapters.diffusers.schedulers import binding_of
from commutant.commutator import Guidance, Plan, Stage, Tape, TapeError, preset
from commutant.operators import Translate

from ..commutator.plans import low
from .conftest import PROMPT, Case
from .test_borrow import Boom, failing_denoiser
from .tiny import tiny_flux
from .tiny_video import wan_two

STEPS = 10
CALL = {"height": 64, "width": 64, "num_inference_steps": STEPS, "max_sequence_length": 16}
CALL |= {"true_cfg_scale": 3.0, "negative_prompt": "not"}


def taylorseer(pipe: Any) -> Any:
    return TaylorSeerCacheConfig(cache_interval=3, disable_cache_before_step=1, taylor_factors_dtype=torch.float32)


def first_block(pipe: Any) -> Any:
    return FirstBlockCacheConfig(threshold=0.6)


def mag(pipe: Any) -> Any:
    ratios = torch.linspace(1.02, 0.97, STEPS)
    return MagCacheConfig(0.2, max_skip_steps=2, retention_ratio=0.1, num_inference_steps=STEPS, mag_ratios=ratios)


def broadcast(pipe: Any) -> Any:
    return PyramidAttentionBroadcastConfig(
        spatial_attention_block_skip_range=3,
        spatial_attention_timestep_skip_range=(0, 1000),
        current_timestep_callback=lambda: pipe.current_timestep,
    )


CACHES = {
    "TaylorSeer": taylorseer,
    "FirstBlockCache": first_block,
    "MagCache": mag,
    "PyramidAttentionBroadcast": broadcast,
}
_flux: list[Case] = []


@pytest.fixture
def plain_flux() -> Case:
    """A pipeline of this file's own, with two kinds of block, and no cache."""
    if not _flux:
        _flux.append(Case(tiny_flux(), CALL))
    return _flux[0]


@pytest.fixture(params=CACHES)
def cached(request: pytest.FixtureRequest, plain_flux: Case) -> Iterator[tuple[str, Case]]:
    plain_flux.pipe.transformer.enable_cache(CACHES[request.param](plain_flux.pipe))
    yield request.param, plain_flux
    plain_flux.pipe.transformer.disable_cache()


@pytest.fixture
def seer(plain_flux: Case) -> Iterator[Case]:
    plain_flux.pipe.transformer.enable_cache(taylorseer(plain_flux.pipe))
    yield plain_flux
    plain_flux.pipe.transformer.disable_cache()


def latent(case: Case, seed: int) -> torch.Tensor:
    return case.plain([seed], output_type="latent")[0]


def finished(previewer: Previewer, item: Any) -> Any:
    return previewer.finish([item], output_type="latent")[0]


def memory(module: Any) -> list[Any]:
    """What the hooks hold, by identity: managers' states, and the states that hooks hold themselves."""
    held = []
    for hook in stateful_hooks(module):
        manager = getattr(hook, "state_manager", None)
        held += [hook.state] if manager is None else [manager._context, *manager._state_cache.items()]
    return held


@pytest.mark.parametrize("name", ["matched", "paper"])
def test_a_finish_is_the_plain_cached_call(cached: tuple[str, Case], name: str, support) -> None:
    cache, case = cached
    previewer = Previewer(case.pipe)
    plain = latent(case, 3)
    with support.cell("Caches", cache, "preview"):
        sheet = previewer.preview(PROMPT, seeds=[2, 3], plan=name, progress=False, **case.call)
        assert all(torch.isfinite(torch.as_tensor(item.cost.seconds)) for item in sheet)
        assert sheet[1].image.size == (32, 32)
    with support.cell("Caches", cache, "finish bit-identical"):
        for _ in range(2):  # a finish leaves the preview's memory as it is
            final = finished(previewer, sheet[1])
            assert torch.equal(final.image, plain)
        assert final.cost.high < final.cost.full
    assert torch.equal(latent(case, 3), plain)  # a plain run after previews and finishes


def test_every_cache_acts(cached: tuple[str, Case]) -> None:
    """The equalities above would be of no use for a cache that never answers."""
    _, case = cached
    plain = latent(case, 3)
    config = case.pipe.transformer._cache_config
    case.pipe.transformer.disable_cache()
    uncached = latent(case, 3)
    case.pipe.transformer.enable_cache(config)
    assert not torch.equal(plain, uncached)


def test_without_the_memory_a_finish_evaluates_the_head_again(cached: tuple[str, Case], tmp_path: Path) -> None:
    _, case = cached
    (item,) = Previewer(case.pipe, cache_bytes=0).preview(PROMPT, seeds=[3], progress=False, **case.call)
    assert item.cache is None
    item.tape.save(tmp_path / "tape.safetensors")
    tape = Tape.load(tmp_path / "tape.safetensors", framework="torch")
    final = finished(Previewer(case.pipe), dataclasses.replace(item, tape=tape))
    assert torch.equal(final.image, latent(case, 3))
    assert final.cost.high == final.cost.full == 2 * STEPS


def test_a_head_evaluated_again_is_checked(seer: Case) -> None:
    previewer = Previewer(seer.pipe, cache_bytes=0)
    (item,) = previewer.preview(PROMPT, seeds=[3], progress=False, **seer.call)
    wrong = dataclasses.replace(item.tape, state=item.tape.state + 1)
    with pytest.raises(TapeError, match="state at the switch"):
        previewer.finish(dataclasses.replace(item, tape=wrong))


def test_memory_is_kept_within_its_limit(seer: Case) -> None:
    (one,) = Previewer(seer.pipe).preview(PROMPT, seeds=[1], progress=False, **seer.call)
    parked = [
        p for slot in one.cache.memory for s in slot.values() for f in s.taylor_factors.values() for p in f.values()
    ]
    limit = 2 * sum(p.tensor.nbytes for p in parked)
    sheet = Previewer(seer.pipe, cache_bytes=limit).preview(PROMPT, seeds=[1, 2, 3], progress=False, **seer.call)
    assert [item.cache is not None for item in sheet] == [True, True, False]


def test_with_a_cold_cache_a_finish_is_another_image(cached: tuple[str, Case], monkeypatch: pytest.MonkeyPatch) -> None:
    """The equality can fail: here the head's memory is not brought back."""
    _, case = cached
    previewer = Previewer(case.pipe)
    plan = low(2)
    (item,) = previewer.preview(PROMPT, seeds=[3], plan=plan, progress=False, **case.call)
    plain = latent(case, 3)
    assert torch.equal(finished(previewer, item).image, plain)
    monkeypatch.setattr(Caches, "resume", lambda self, kept: None)
    assert not torch.equal(finished(previewer, item).image, plain)


def test_with_one_memory_for_all_a_preview_is_another_image(
    cached: tuple[str, Case], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Candidates and corrections must not answer for one another, nor for the tail."""
    _, case = cached

    def preview() -> torch.Tensor:
        arguments = {"seeds": [3], "plan": "paper", "progress": False, "output_type": "latent"}
        return Previewer(case.pipe).preview(PROMPT, **arguments, **case.call)[0].image

    image = preview()
    assert torch.equal(preview(), image)
    monkeypatch.setattr(Caches, "enter", lambda self, phase, progress: None)
    assert not torch.equal(preview(), image)


# True CFG calls the model twice per evaluation: three steps of the head, four candidates, then the tail.
@pytest.mark.parametrize("call_number", [5, 9, 16, 24], ids=["head", "candidate", "correction", "tail"])
def test_after_an_exception_hooks_hold_what_they_held(cached: tuple[str, Case], call_number: int) -> None:
    _, case = cached
    previewer, module = Previewer(case.pipe), case.pipe.transformer
    plain = latent(case, 1)
    handle = failing_denoiser(case, 6)
    with pytest.raises(Boom):  # diffusers clears nothing after an exception: this memory is the user's
        latent(case, 1)
    handle.remove()
    held = memory(module)
    assert held
    handle = failing_denoiser(case, call_number)
    try:
        with pytest.raises(Boom):
            previewer.preview(PROMPT, seeds=[1], plan="paper", progress=False, **case.call)
    finally:
        handle.remove()
    assert all(a is b or a == b for a, b in zip(memory(module), held, strict=True))
    (item,) = previewer.preview(PROMPT, seeds=[1], plan="paper", progress=False, **case.call)
    assert torch.equal(finished(previewer, item).image, plain)
    assert all(a is b or a == b for a, b in zip(memory(module), held, strict=True))
    module._reset_stateful_cache()


def test_a_field_is_evaluated_cold(cached: tuple[str, Case]) -> None:
    """Candidates and fields: one evaluation by itself is the model's own, whatever ran before."""
    _, case = cached
    field = PipelineField(case.pipe, PROMPT, **case.call)
    x = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    first, other, again = field.denoised(x, 0.9), field.denoised(x, 0.7), field.denoised(x, 0.9)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_the_tail_counts_on_from_the_switch(plain_flux: Case) -> None:
    """MagCache's ratios are one per step of the whole run; corrections and candidates do not move the tail along."""
    plan, module = preset("paper", STEPS), plain_flux.pipe.transformer
    module.enable_cache(mag(plain_flux.pipe))
    seen: list[int | None] = []

    def hook(block: Any, args: Any, kwargs: Any) -> None:
        manager = next(iter(stateful_hooks(module))).state_manager
        if manager.context.name == "cond":
            state = manager._state_cache.get("cond")
            seen.append(None if state is None else state.step_index)

    try:
        handle = module.register_forward_pre_hook(hook, with_kwargs=True)
        Previewer(plain_flux.pipe).preview(PROMPT, seeds=[1], plan=plan, progress=False, **CALL)
        handle.remove()
    finally:
        module.disable_cache()
    switch = plan.head
    assert seen[: switch + 1] == [None, *range(1, switch + 1)]  # the head and the reference
    assert seen[switch + 1 : switch + 5] == [None] * 4  # candidates are evaluated cold
    assert seen[-3:] == [STEPS - 3, STEPS - 2, STEPS - 1]


def test_phases_and_progress() -> None:
    twice = Guidance("exact", 2, 0.1)
    names = [ALONE, ALONE, ALONE, "tail", "correction", "tail", "tail"]
    shares = [Fraction(4, 10)] * 4 + [Fraction(6, 10)] * 2 + [Fraction(8, 10)]
    assert phases(3, 3, twice, Fraction(4, 10)) == list(zip(names, shares))
    assert [name for name, _ in phases(2, 1, None, Fraction(0))] == ["tail", "tail"]
    assert [name for name, _ in phases(2, 2, None, Fraction(0))] == [ALONE, ALONE, "tail"]


def test_a_moved_image_retraces_the_cached_run(seer: Case) -> None:
    """From the memory and from the seed alike."""
    previewer = Previewer(seer.pipe)
    sheet = previewer.preview(PROMPT, seeds=[3], progress=False, **seer.call)
    without = dataclasses.replace(sheet[0], cache=None)
    images = [
        previewer.transform([item], Translate(16, 0), at=5, output_type="latent")[0].image
        for item in (sheet[0], without)
    ]
    assert torch.equal(*images)
    assert torch.isfinite(images[0]).all()


REFUSED = [
    (FasterCacheConfig(), "previews do not follow the cache FasterCacheConfig.*disable_cache.*TaylorSeerCacheConfig"),
    (MagCacheConfig(calibrate=True), "calibrate=True measures one plain run"),
    (object(), "the cache object; call pipe.transformer.disable_cache"),
]


@pytest.mark.parametrize(("config", "message"), REFUSED, ids=["FasterCache", "calibration", "unknown"])
def test_refused_by_name(plain_flux: Case, config: Any, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    previewer = Previewer(plain_flux.pipe)
    (item,) = previewer.preview(PROMPT, seeds=[1], progress=False, **CALL)
    monkeypatch.setattr(plain_flux.pipe.transformer, "_cache_config", config)
    never = plain_flux.pipe.transformer.register_forward_pre_hook(lambda *a: pytest.fail("evaluated"))
    try:
        for use in (
            lambda: Previewer(plain_flux.pipe),
            lambda: previewer.preview(PROMPT, seeds=[1], **CALL),
            lambda: previewer.finish(item),
        ):
            with pytest.raises(UnsupportedError, match=message):
                use()
    finally:
        never.remove()


def test_faster_cache_in_the_table(plain_flux: Case, support, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plain_flux.pipe.transformer, "_cache_config", FasterCacheConfig())
    for column in ("preview", "finish bit-identical"):
        with support.cell("Caches", "FasterCache", column):
            Previewer(plain_flux.pipe)


def test_a_cache_beside_another_scheduler(plain_flux: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """A multistep history and the memory of a cache are carried side by side."""
    pipe = plain_flux.pipe
    flow = {"use_flow_sigmas": True, "prediction_type": "flow_prediction", "flow_shift": 3.0}
    pipe.transformer.enable_cache(first_block(pipe))
    try:
        monkeypatch.setattr(pipe, "scheduler", UniPCMultistepScheduler(**flow))
        (item,) = Previewer(pipe).preview(PROMPT, seeds=[3], plan="paper", progress=False, **CALL)
        assert torch.equal(finished(Previewer(pipe), item).image, latent(plain_flux, 3))
    finally:
        pipe.transformer.disable_cache()


def test_a_cache_beside_two_models_is_refused() -> None:
    pipe = wan_two()
    pipe.transformer_2._cache_config = FirstBlockCacheConfig()
    with pytest.raises(UnsupportedError, match="two models and a cache"):
        Previewer(pipe)


def test_hooks_that_nobody_clears_are_refused(sd3: Case, plain_flux: Case) -> None:
    """SD3's transformer has no CacheMixin, and diffusers' functions put hooks on it all the same."""
    for case, match in (
        (sd3, "no CacheMixin and takes no cache"),
        (plain_flux, "remove the hooks and call enable_cache"),
    ):
        module = case.pipe.transformer
        apply_first_block_cache(module, FirstBlockCacheConfig())
        try:
            with pytest.raises(UnsupportedError, match=match):
                Previewer(case.pipe)
        finally:
            for part in module.modules():
                for name in list(part._diffusers_hook.hooks) if hasattr(part, "_diffusers_hook") else ():
                    part._diffusers_hook.remove_hook(name, recurse=False)
    with pytest.raises(AttributeError, match="enable_cache"):
        sd3.pipe.transformer.enable_cache(FirstBlockCacheConfig())


def test_batches_of_high_resolution_runs_are_refused(seer: Case) -> None:
    previewer = Previewer(seer.pipe)
    sheet = previewer.preview(PROMPT, seeds=[1, 2], progress=False, **seer.call)
    with pytest.raises(UnsupportedError, match=r"head_batch_size=2 with TaylorSeerCacheConfig.*use head_batch_size=1"):
        Previewer(seer.pipe, head_batch_size=2).preview(PROMPT, seeds=[1, 2], **seer.call)
    with pytest.raises(UnsupportedError, match="use batch_size=1"):
        previewer.finish(list(sheet), batch_size=2)
    with pytest.raises(UnsupportedError, match="use batch_size=1"):
        previewer.transform(list(sheet), Translate(16, 0), batch_size=2)


def test_a_tape_of_another_cache_is_refused(plain_flux: Case) -> None:
    previewer, module = Previewer(plain_flux.pipe), plain_flux.pipe.transformer
    (uncached,) = previewer.preview(PROMPT, seeds=[1], progress=False, **CALL)
    module.enable_cache(first_block(plain_flux.pipe))
    try:
        with pytest.raises(TapeError, match="recorded with no cache, the transformer has the cache FirstBlockCache"):
            previewer.finish(uncached)
        (item,) = previewer.preview(PROMPT, seeds=[1], progress=False, **CALL)
    finally:
        module.disable_cache()
    with pytest.raises(TapeError, match=r"recorded with the cache FirstBlockCache.*the transformer has no cache"):
        previewer.finish(item)
    module.enable_cache(FirstBlockCacheConfig(threshold=0.2))
    try:
        with pytest.raises(TapeError, match=r'"threshold": 0.6.*"threshold": 0.2'):
            previewer.finish(item)
    finally:
        module.disable_cache()


def test_a_coarse_head_keeps_no_memory(seer: Case) -> None:
    previewer = Previewer(seer.pipe)
    plan = Plan(0, (Stage(1, 1), Stage(2, 3)))
    (item,) = previewer.preview(PROMPT, seeds=[3], plan=plan, progress=False, **seer.call)
    assert item.cache is None
    assert torch.equal(finished(previewer, item).image, latent(seer, 3))
    assert HeadLoop(plan, binding_of(seer.pipe.scheduler), lambda _: None).memory == []
