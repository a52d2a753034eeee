"""Models that users compile, adapt, offload or store in another form: previews and finishes go through all of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from commutant.adapters.diffusers import Previewer

from .conftest import PROMPT
from .tiny import tiny_flux
from .tiny_registry import SHORT

TABLE = "Wrapped models (Flux)"
CALL = SHORT | {"true_cfg_scale": 3.0, "negative_prompt": "not"}


def compiled(pipe: Any) -> None:
    pipe.transformer = torch.compile(pipe.transformer, backend="eager")


def compiled_in_place(pipe: Any) -> None:
    pipe.transformer.compile(backend="eager")


def compiled_blocks(pipe: Any) -> None:
    pipe.transformer.compile_repeated_blocks(backend="eager")


def model_offload(pipe: Any) -> None:
    pipe.enable_model_cpu_offload(device="cpu")


def group_offload(pipe: Any) -> None:
    pipe.transformer.enable_group_offload(
        onload_device=torch.device("cpu"), offload_type="block_level", num_blocks_per_group=1
    )


def layerwise_casting(pipe: Any) -> None:
    pipe.transformer.enable_layerwise_casting(storage_dtype=torch.bfloat16, compute_dtype=torch.float32)


def fused(pipe: Any) -> None:
    pipe.transformer.fuse_qkv_projections()


def lora(pipe: Any) -> None:
    peft = pytest.importorskip("peft")
    with torch.random.fork_rng():
        torch.manual_seed(1)
        config = peft.LoraConfig(r=2, lora_alpha=2, init_lora_weights=False, target_modules=["to_q", "to_v"])
        pipe.transformer.add_adapter(config)


COMPILED = {
    "torch.compile(transformer), eager backend": compiled,
    "transformer.compile(), eager backend": compiled_in_place,
    "compile_repeated_blocks, eager backend": compiled_blocks,
}
WRAPPERS = {
    "enable_model_cpu_offload, hooks only (CPU)": model_offload,
    "enable_group_offload, hooks only (CPU)": group_offload,
    "enable_layerwise_casting (bfloat16 storage)": layerwise_casting,
    "fuse_qkv_projections": fused,
    "LoRA (peft)": lora,
}


def check(name: str, wrap: Callable[[Any], None], support: Any) -> None:
    pipe = tiny_flux()
    wrap(pipe)

    def plain() -> torch.Tensor:
        generator = torch.Generator().manual_seed(3)
        return pipe(PROMPT, generator=generator, output_type="latent", **CALL)[0]

    expected, rng = plain(), torch.get_rng_state()
    with support.cell(TABLE, name, "preview"):
        previewer = Previewer(pipe)
        (item,) = previewer.preview(PROMPT, seeds=[3], plan="paper", progress=False, **CALL)
        assert item.image.size == (48, 32)
        assert torch.equal(plain(), expected)
        assert torch.equal(torch.get_rng_state(), rng)
    with support.cell(TABLE, name, "finish bit-identical"):
        (final,) = previewer.finish([item], output_type="latent")
        assert torch.equal(final.image, expected[0])
        assert final.cost.high < final.cost.full


@pytest.mark.parametrize("name", WRAPPERS)
def test_wrapped(name: str, support: Any) -> None:
    check(name, WRAPPERS[name], support)


@pytest.mark.slow
@pytest.mark.parametrize("name", COMPILED)
def test_compiled(name: str, support: Any) -> None:
    try:
        check(name, COMPILED[name], support)
    finally:
        torch._dynamo.reset()


@pytest.mark.parametrize("wrap", [lora, layerwise_casting], ids=["lora", "casting"])
def test_what_changes_the_answers_changes_the_fingerprint(wrap: Callable[[Any], None]) -> None:
    """A tape of the plain model must not be finished with the adapted one."""
    pipe = tiny_flux()
    plain = Previewer(pipe).fingerprint
    wrap(pipe)
    assert Previewer(pipe).fingerprint != plain


def test_what_is_not_tested(support: Any) -> None:
    for name, package in (("torchao quantisation", "torchao"), ("bitsandbytes quantisation", "bitsandbytes")):
        why = f"{package} is no dependency of the tests; its kernels want a GPU"
        support.not_tested(TABLE, name, "preview", why)
        support.not_tested(TABLE, name, "finish bit-identical", why)
    why = "needs an accelerator to offload from; a plain call on the CPU fails, too"
    for column in ("preview", "finish bit-identical"):
        support.not_tested(TABLE, "enable_sequential_cpu_offload", column, why)
