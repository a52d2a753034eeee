"""A finish is refused after any change that alters what a forward computes, and after no other."""

from __future__ import annotations

import types
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler, EulerDiscreteScheduler, FlowMatchEulerDiscreteScheduler
from diffusers.hooks import HookRegistry, ModelHook
from diffusers.models.attention_processor import AttnProcessor, IPAdapterAttnProcessor2_0

from commutant.adapters.diffusers import Previewer
from commutant.commutator import TapeError

from ..commutator.plans import low
from . import tiny_images
from .conftest import PROMPT
from .tiny import tiny_flux, tiny_sd3
from .tiny_unet import SCHEDULE, tiny_sd, tiny_sdxl

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

CALL = {"height": 64, "width": 64, "num_inference_steps": 3}
PLAN = low(1)
Change = Callable[[Any], Any]


def adapted(pipe: Any) -> None:
    """Two LoRA adapters, the first one active."""
    peft = pytest.importorskip("peft")
    with torch.random.fork_rng():
        torch.manual_seed(1)
        for name in ("first", "second"):
            config = peft.LoraConfig(r=2, lora_alpha=2, init_lora_weights=False, target_modules=["to_q", "to_v"])
            pipe.transformer.add_adapter(config, name)
    pipe.transformer.set_adapter("first")


def with_image_prompt(pipe: Any) -> None:
    """Attention processors of an IP-Adapter, their weights at random."""
    with torch.random.fork_rng():
        torch.manual_seed(2)
        for name, old in list(pipe.unet.attn_processors.items()):
            if name.endswith("attn2.processor"):
                owner = pipe.unet.get_submodule(name.removesuffix(".processor"))
                owner.set_processor(IPAdapterAttnProcessor2_0(owner.to_q.in_features, 32, scale=1.0))
                assert type(old) is not type(owner.processor)


def prompted(pipe: Any, scale: float) -> None:
    for processor in pipe.unet.attn_processors.values():
        if isinstance(processor, IPAdapterAttnProcessor2_0):
            processor.scale = [scale]


def scaled(weight: torch.Tensor) -> None:
    with torch.no_grad():
        weight.mul_(1.01)


def first(pipe: Any, kind: type) -> Any:
    return next(m for m in pipe.unet.modules() if isinstance(m, kind))


class Louder(ModelHook):
    def post_forward(self, module: Any, output: Any) -> Any:
        return output * 1.01


def louder(module: Any, _: Any, output: Any) -> Any:
    return output * 1.01


def own_forward(pipe: Any) -> None:
    layer = pipe.unet.conv_out
    plain = layer.forward
    layer.forward = types.MethodType(lambda self, x: plain(x) * 1.01, layer)


def changed_class(pipe: Any) -> None:
    layer = pipe.unet.conv_out
    layer.__class__ = type("MergedConv", (type(layer),), {"forward": lambda self, x: torch.nn.Conv2d.forward(self, x)})


def with_betas(pipe: Any) -> None:
    pipe.scheduler.alphas_cumprod = pipe.scheduler.alphas_cumprod**1.1


def autocasting(pipe: Any) -> Any:
    return torch.autocast("cpu", dtype=torch.bfloat16)


def casting(pipe: Any) -> None:
    pipe.transformer.enable_layerwise_casting(storage_dtype=torch.bfloat16, compute_dtype=torch.float32)


def computing_in(dtype: torch.dtype) -> Change:
    def change(pipe: Any) -> None:
        for part in pipe.transformer.modules():
            registry = getattr(part, "_diffusers_hook", None)
            for hook in registry.hooks.values() if registry else ():
                hook.compute_dtype = dtype

    return change


def nothing(pipe: Any) -> None:
    return None


def dropout(pipe: Any) -> None:
    first(pipe, torch.nn.Dropout).p = 0.5


def emphasised(pipe: Any) -> None:
    pipe.tokenizer.add_tokens(["fox"])


def guided(pipe: Any) -> None:
    pipe.guider.guidance_scale += 1.0


# name: pipeline, what is done before the preview, what is done between preview and finish
CHANGED: dict[str, tuple[Callable[[], Any], Change, Change]] = {
    "weight": (tiny_sd, nothing, lambda p: scaled(p.unet.conv_in.weight)),
    "weight of the text encoder": (tiny_sd, nothing, lambda p: scaled(next(p.text_encoder.parameters()))),
    "weight of the VAE": (tiny_sd, nothing, lambda p: scaled(p.vae.decoder.conv_in.weight)),
    "dtype of one model": (tiny_flux, nothing, lambda p: p.vae.to(torch.bfloat16)),
    "LoRA added": (tiny_flux, nothing, adapted),
    "LoRA scale": (tiny_flux, adapted, lambda p: p.transformer.set_adapters(["first"], [0.3])),
    "LoRA other adapter": (tiny_flux, adapted, lambda p: p.transformer.set_adapter("second")),
    "LoRA both adapters": (tiny_flux, adapted, lambda p: p.transformer.set_adapters(["first", "second"], [1.0, 1.0])),
    "LoRA disabled": (tiny_flux, adapted, lambda p: p.transformer.disable_adapters()),
    "LoRA fused": (tiny_flux, adapted, lambda p: p.transformer.fuse_lora(lora_scale=0.5)),
    "FreeU on": (tiny_sd, nothing, lambda p: p.enable_freeu(s1=0.9, s2=0.2, b1=1.5, b2=1.6)),
    "FreeU values": (
        tiny_sd,
        lambda p: p.enable_freeu(s1=0.9, s2=0.2, b1=1.5, b2=1.6),
        lambda p: p.enable_freeu(s1=0.8, s2=0.2, b1=1.5, b2=1.6),
    ),
    "FreeU off": (tiny_sd, lambda p: p.enable_freeu(s1=0.9, s2=0.2, b1=1.5, b2=1.6), lambda p: p.disable_freeu()),
    "attention processor": (tiny_sd, nothing, lambda p: p.unet.set_attn_processor(AttnProcessor())),
    "attention slicing": (tiny_sd, nothing, lambda p: p.enable_attention_slicing(1)),
    "image prompt added": (tiny_sd, nothing, with_image_prompt),
    "image prompt scale": (tiny_sd, with_image_prompt, lambda p: prompted(p, 0.3)),
    "pipeline configuration": (tiny_sdxl, nothing, lambda p: p.register_to_config(force_zeros_for_empty_prompt=False)),
    "pipeline attribute": (tiny_sd, nothing, lambda p: setattr(p, "vae_scale_factor", 4)),
    "VAE scaling": (tiny_sd, nothing, lambda p: p.vae.register_to_config(scaling_factor=1.0)),
    "model configuration": (tiny_sd, nothing, lambda p: p.unet.register_to_config(time_cond_proj_dim=1)),
    "scheduler": (tiny_sd, nothing, lambda p: setattr(p, "scheduler", DDIMScheduler(**SCHEDULE, clip_sample=False))),
    "scheduler configuration": (
        tiny_sdxl,
        nothing,
        lambda p: setattr(p, "scheduler", EulerDiscreteScheduler(**SCHEDULE, timestep_spacing="trailing")),
    ),
    "scheduler shift": (lambda: tiny_flux(dynamic_shift=False), nothing, lambda p: p.scheduler.set_shift(5.0)),
    "scheduler table": (tiny_sd, nothing, with_betas),
    "training mode": (tiny_sd, nothing, lambda p: p.unet.train()),
    "training mode of one layer": (tiny_sd, nothing, lambda p: first(p, torch.nn.Dropout).train()),
    "dropout": (tiny_sd, nothing, dropout),
    "group norm's epsilon": (tiny_sd, nothing, lambda p: setattr(first(p, torch.nn.GroupNorm), "eps", 0.1)),
    "activation": (tiny_sd, nothing, lambda p: setattr(p.unet, "conv_act", torch.nn.GELU())),
    "layerwise casting": (tiny_flux, nothing, casting),
    "layerwise casting's dtype": (tiny_flux, casting, computing_in(torch.float64)),
    "hook of torch": (tiny_sd, nothing, lambda p: p.unet.conv_out.register_forward_hook(louder)),
    "hook of diffusers": (
        tiny_sd,
        nothing,
        lambda p: HookRegistry.check_if_exists_or_initialize(p.unet.conv_out).register_hook(Louder(), "louder"),
    ),
    "forward of a layer": (tiny_sd, nothing, own_forward),
    "class of a layer": (tiny_sd, nothing, changed_class),
    "buffer that is not saved": (
        tiny_sd,
        nothing,
        lambda p: p.text_encoder.get_submodule("").register_buffer("bias", torch.ones(3), persistent=False),
    ),
    "tokenizer": (tiny_sd, nothing, emphasised),
    "guider": (tiny_images.hunyuan_image, nothing, guided),
    "guider disabled": (tiny_images.hunyuan_image, nothing, lambda p: p.guider.disable()),
    "autocast": (tiny_sd, nothing, autocasting),
}


def through_another_dtype(pipe: Any) -> None:
    """Every weight is a new tensor afterwards, as when it was on another device, with the same value."""
    pipe.transformer.to(torch.float64).to(torch.float32)


def callback_of_a_user(pipe: Any) -> None:
    pipe.seen_by_my_callback = 3


KEPT: dict[str, tuple[Callable[[], Any], Change, Change]] = {
    "nothing": (tiny_flux, nothing, nothing),
    "built again": (tiny_sd, nothing, nothing),
    "moved": (tiny_flux, nothing, lambda p: p.to(torch.device("cpu", 0)).to("cpu")),
    "through another dtype": (tiny_flux, nothing, through_another_dtype),
    "compiled": (
        tiny_flux,
        nothing,
        lambda p: setattr(p, "transformer", torch.compile(p.transformer, backend="eager")),
    ),
    "compiled in place": (tiny_flux, nothing, lambda p: p.transformer.compile(backend="eager")),
    "VAE tiling": (tiny_sd, nothing, lambda p: p.vae.enable_tiling()),
    "VAE slicing": (tiny_sd, nothing, lambda p: p.vae.enable_slicing()),
    "progress bar": (tiny_sd, nothing, lambda p: p.set_progress_bar_config(disable=True, desc="mine")),
    "model offload": (tiny_sd, nothing, lambda p: p.enable_model_cpu_offload(device="cpu")),
    "group offload": (
        tiny_flux,
        nothing,
        lambda p: p.transformer.enable_group_offload(
            onload_device=torch.device("cpu"), offload_type="block_level", num_blocks_per_group=1
        ),
    ),
    "a first run": (tiny_sd3, nothing, lambda p: p(PROMPT, output_type="latent", **CALL)),
    "FreeU on and off": (
        tiny_sd,
        nothing,
        lambda p: (p.enable_freeu(s1=0.9, s2=0.2, b1=1.5, b2=1.6), p.disable_freeu()),
    ),
    "LoRA off and on": (
        tiny_flux,
        adapted,
        lambda p: (p.transformer.disable_adapters(), p.transformer.enable_adapters()),
    ),
    "training mode and back": (tiny_sd, nothing, lambda p: (p.unet.train(), p.unet.eval())),
    "attribute of a callback": (tiny_sd, nothing, callback_of_a_user),
    "scheduler of the same configuration": (
        tiny_flux,
        nothing,
        lambda p: setattr(p, "scheduler", FlowMatchEulerDiscreteScheduler.from_config(p.scheduler.config)),
    ),
}


def finished(case: tuple[Callable[[], Any], Change, Change]) -> Any:
    """The latents of a finish after the change, and the pipeline's plain run before it."""
    build, prepare, change = case
    pipe = build()
    pipe.set_progress_bar_config(disable=True)
    prepare(pipe)
    plain = pipe(PROMPT, generator=torch.Generator().manual_seed(3), output_type="latent", **CALL)[0]
    (item,) = Previewer(pipe).preview(PROMPT, seeds=[3], plan=PLAN, progress=False, **CALL)
    with ExitStack() as stack:
        done = change(pipe)
        if isinstance(done, torch.autocast):
            stack.enter_context(done)
        (final,) = Previewer(pipe).finish([item], output_type="latent")
    return final.image, plain[0]


@pytest.mark.parametrize("name", CHANGED)
def test_a_change_of_what_is_computed_is_refused(name: str) -> None:
    with pytest.raises(TapeError, match="with other settings of it"):
        finished(CHANGED[name])


@pytest.mark.parametrize("name", KEPT)
def test_a_change_of_how_it_is_computed_is_not(name: str) -> None:
    try:
        final, plain = finished(KEPT[name])
    finally:
        torch._dynamo.reset()
    torch.testing.assert_close(final, plain, rtol=1e-4, atol=1e-4)


def test_a_pipeline_saved_and_loaded_is_the_same(tmp_path: Any) -> None:
    for build in (tiny_sd, tiny_flux):
        pipe = build()
        pipe.save_pretrained(tmp_path / build.__name__, safe_serialization=True)
        loaded = type(pipe).from_pretrained(tmp_path / build.__name__)
        assert Previewer(loaded).fingerprint == Previewer(pipe).fingerprint
