"""One pipeline, several threads: every final right or refused by name, and the pipeline left as it was."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch

from commutant.adapters.diffusers import BusyError, Previewer
from commutant.adapters.diffusers.run import SLOT

from ..commutator.plans import low
from .conftest import PROMPT, Case

PLAN = low(1)
FEW = {"num_inference_steps": 3}


@pytest.fixture(autouse=True)
def _eager_switches() -> Iterator[None]:
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(interval)


def unpatched(pipe: Any) -> bool:
    patched = {"step", "set_timesteps"} & vars(pipe.scheduler).keys() or SLOT in vars(pipe.transformer)
    return not patched and not hasattr(type(pipe), "_commutant_guarded")


def in_a_thread(function: Callable[[], Any]) -> BaseException | None:
    """What `function` raises in a thread of its own."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(function).exception()


@pytest.mark.parametrize("shared", [True, False], ids=["one previewer", "two previewers"])
def test_two_threads(flux: Case, shared: bool) -> None:
    previewer, runs = Previewer(flux.pipe), 20
    previewers = (previewer, previewer if shared else Previewer(flux.pipe))
    call = flux.call | FEW
    plain = {seed: flux.plain([seed], output_type="latent", **FEW)[0] for seed in (1, 2)}

    def finals(which: int) -> list[torch.Tensor]:
        out = []
        for _ in range(runs):
            (item,) = previewers[which].preview(PROMPT, seeds=[which + 1], plan=PLAN, progress=False, **call)
            out.append(previewers[which].finish([item], output_type="latent")[0].image)
        return out

    with ThreadPoolExecutor(2) as pool:
        made = list(pool.map(finals, (0, 1)))
    assert all(torch.equal(final, plain[which + 1]) for which in (0, 1) for final in made[which])
    assert unpatched(flux.pipe)


def test_a_plain_call_beside_a_preview_is_refused(flux: Case) -> None:
    refusals: list[BaseException | None] = []
    other = type(flux.pipe)(**flux.pipe.components)  # another pipeline object, the same scheduler and models
    other.set_progress_bar_config(disable=True)
    plain = flux.plain([2], output_type="latent", **FEW)[0]

    def callback(pipe: Any, step: int, t: Any, values: dict[str, Any]) -> dict[str, Any]:
        refusals.append(in_a_thread(lambda: flux.plain([1], true_cfg_scale=9.0, **FEW)))
        refusals.append(in_a_thread(lambda: other(PROMPT, **flux.call)))
        return values

    call = flux.call | FEW | {"callback_on_step_end": callback}
    previewer = Previewer(flux.pipe)
    (item,) = previewer.preview(PROMPT, seeds=[2], plan=PLAN, progress=False, **call)
    (final,) = previewer.finish([item], output_type="latent")
    assert len(refusals) == 12
    assert all(isinstance(r, BusyError) and "another thread runs a preview" in str(r) for r in refusals)
    assert torch.equal(final.image, plain)
    assert unpatched(flux.pipe)


def test_a_callback_that_runs_the_pipeline_again_is_refused(flux: Case) -> None:
    previewer = Previewer(flux.pipe)
    again: list[Callable[[], Any]] = [
        lambda: flux.plain([1], **FEW),
        lambda: previewer.preview(PROMPT, seeds=[1], progress=False, **flux.call),
    ]
    for run in again:

        def callback(pipe: Any, step: int, t: Any, values: dict[str, Any], run: Any = run) -> dict[str, Any]:
            run()
            return values

        with pytest.raises(BusyError, match="after the run"):
            previewer.preview(PROMPT, seeds=[2], progress=False, callback_on_step_end=callback, **flux.call)
        assert unpatched(flux.pipe)


def test_a_stream_lets_others_in_between_two_previews(flux: Case) -> None:
    previewer, call = Previewer(flux.pipe, batch_size=1), flux.call | FEW
    stream = previewer.stream(PROMPT, seeds=[1, 2], plan=PLAN, progress=False, **call)
    one = next(stream)
    done = threading.Event()

    def finish() -> None:
        previewer.finish(one)
        done.set()

    thread = threading.Thread(target=finish, daemon=True)
    thread.start()
    assert done.wait(60), "a stream that waits for its caller holds the pipeline"
    previewer.finish(one)  # and in this thread
    assert [item.seed for item in stream] == [2]


def test_asyncio(flux: Case) -> None:
    previewer, call = Previewer(flux.pipe), flux.call | FEW

    async def both() -> list[Any]:
        jobs = [
            asyncio.to_thread(previewer.preview, PROMPT, seeds=[s], plan=PLAN, progress=False, **call) for s in (1, 2)
        ]
        sheets = await asyncio.gather(*jobs)
        return list(
            await asyncio.gather(*(asyncio.to_thread(previewer.finish, s, output_type="latent") for s in sheets))
        )

    finals = asyncio.run(both())
    for seed, (final,) in zip((1, 2), finals):
        assert torch.equal(final.image, flux.plain([seed], output_type="latent", **FEW)[0])
