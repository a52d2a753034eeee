"""Compile the transformer's blocks for training so that one compiled kernel serves every thread count."""

from typing import Any

from diffusers import FluxTransformer2DModel

_IGNORED_GUARDS = ("GLOBAL_STATE",)  # holds the thread count; nothing else in it changes during training


def _keep(guards: list[Any]) -> list[bool]:
    return [guard.guard_type not in _IGNORED_GUARDS for guard in guards]


def compile_blocks(transformer: FluxTransformer2DModel) -> None:
    """Compile the repeated blocks in place, once per shape, with the thread count read at run time."""
    import torch._dynamo.config
    import torch._inductor.config

    torch._dynamo.config.recompile_limit = 64
    torch._inductor.config.cpp.dynamic_threads = True
    transformer.compile_repeated_blocks(dynamic=False, options={"guard_filter_fn": _keep})
