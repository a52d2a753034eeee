"""The ways a preview is asked for: prompts, batches, callbacks, interruption, output types."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from commutant.adapters.diffusers import Previewer, UnsupportedError
from commutant.commutator import preset

from .conftest import PROMPT, Case


def test_a_callback_sees_each_solver_step_once(case: Case) -> None:
    seen: list[tuple[int, tuple[int, ...]]] = []

    def callback(pipe: Any, step: int, t: Any, values: dict[str, Any]) -> dict[str, Any]:
        seen.append((step, tuple(values["latents"].shape)))
        return values

    plan = preset("paper", 6)
    Previewer(case.pipe).preview(
        PROMPT, seeds=[1], plan=plan, progress=False, callback_on_step_end=callback, **case.call
    )
    assert [step for step, _ in seen] == list(range(6))
    assert len({shape for step, shape in seen if step < plan.head}) == 1
    assert len({shape for step, shape in seen if step >= plan.head}) == 1
    assert len({shape for _, shape in seen}) == 2


def test_a_callback_that_moves_the_latents_is_followed(flux: Case) -> None:
    """The tail starts from the state as the callback left it, and the finish repeats what the callback does."""

    def callback(pipe: Any, step: int, t: Any, values: dict[str, Any]) -> dict[str, Any]:
        return {"latents": values["latents"] * 1.01}

    call = flux.call | {"callback_on_step_end": callback}
    previewer = Previewer(flux.pipe)
    (item,) = previewer.preview(PROMPT, seeds=[1], progress=False, **call)
    plain = flux.plain([1], output_type="latent", callback_on_step_end=callback)[0]
    assert torch.equal(previewer.finish([item], output_type="latent")[0].image, plain)
    assert not torch.equal(plain, flux.plain([1], output_type="latent")[0])


def test_a_callback_that_changes_the_prompt_is_refused(flux: Case) -> None:
    def callback(pipe: Any, step: int, t: Any, values: dict[str, Any]) -> dict[str, Any]:
        return {"prompt_embeds": values["prompt_embeds"] * 0}

    call = flux.call | {
        "callback_on_step_end": callback,
        "callback_on_step_end_tensor_inputs": ["latents", "prompt_embeds"],
    }
    with pytest.raises(UnsupportedError, match="changed 'prompt_embeds'"):
        Previewer(flux.pipe).preview(PROMPT, seeds=[1], progress=False, **call)


def test_a_user_interrupt_keeps_what_was_ready(flux: Case) -> None:
    for at in (1, 4):  # in the head, in the tail
        steps = {"n": 0}

        def callback(pipe: Any, step: int, t: Any, values: dict[str, Any], at=at, steps=steps) -> dict[str, Any]:
            steps["n"] += 1
            if steps["n"] > 6 and step == at:
                pipe._interrupt = True
            return values

        plan = preset("naive", 6)
        sheet = Previewer(flux.pipe, batch_size=1).preview(
            PROMPT, seeds=[1, 2, 3], plan=plan, progress=False, callback_on_step_end=callback, **flux.call
        )
        assert sheet.interrupted
        assert [item.seed for item in sheet] == [1]


def test_one_prompt_per_image(flux: Case) -> None:
    previewer = Previewer(flux.pipe, batch_size=2)
    together = previewer.preview([PROMPT, "a cat"], seeds=[1, 2], progress=False, output_type="latent", **flux.call)
    alone = previewer.preview("a cat", seeds=[2], progress=False, output_type="latent", **flux.call)
    torch.testing.assert_close(together[1].image, alone[0].image, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(together[0].image, together[1].image, atol=1e-2)
    assert together[1].call["prompt"] == "a cat"


def test_prompt_embeds(sd3: Case) -> None:
    names = ("prompt_embeds", "negative_prompt_embeds", "pooled_prompt_embeds", "negative_pooled_prompt_embeds")
    with torch.no_grad():
        embeds = sd3.pipe.encode_prompt(PROMPT, None, None, negative_prompt="not", max_sequence_length=16)
    call = {k: v for k, v in sd3.call.items() if k != "negative_prompt"} | dict(zip(names, embeds))
    previewer = Previewer(sd3.pipe)
    by_text = previewer.preview(PROMPT, seeds=[1, 2], progress=False, output_type="latent", **sd3.call)
    by_embeds = previewer.preview(seeds=[1, 2], progress=False, output_type="latent", **call)
    torch.testing.assert_close(by_text[1].image, by_embeds[1].image, rtol=1e-4, atol=1e-4)
    final = previewer.finish([by_embeds[1]], output_type="latent")[0].image
    assert torch.equal(final, sd3.plain([2], output_type="latent")[0])


def test_the_size_of_a_batch_does_not_change_the_previews(case: Case) -> None:
    def images(batch_size: int) -> torch.Tensor:
        sheet = Previewer(case.pipe, batch_size=batch_size).preview(
            PROMPT, seeds=[1, 2, 3], plan="paper", progress=False, output_type="latent", **case.call
        )
        return torch.stack(sheet.images)

    torch.testing.assert_close(images(1), images(3), rtol=1e-3, atol=1e-3)


def test_custom_sigmas_and_bars(flux: Case, capsys) -> None:
    call = {k: v for k, v in flux.call.items() if k != "num_inference_steps"} | {"sigmas": [1.0, 0.8, 0.6, 0.4, 0.2]}
    flux.pipe.set_progress_bar_config(disable=False)
    try:
        (item,) = Previewer(flux.pipe).preview(PROMPT, seeds=[1], plan="naive", **call)
        final = Previewer(flux.pipe).finish([item], output_type="latent")[0].image
    finally:
        flux.pipe.set_progress_bar_config(disable=True)
    shown = capsys.readouterr().err
    assert "previews: 100%" in shown
    assert "/5" in shown  # the pipeline's own bar, inside
    plain = flux.pipe(PROMPT, generator=torch.Generator().manual_seed(1), output_type="latent", **call).images[0]
    assert torch.equal(final, plain)
