"""The whole high-resolution run under a cache of the model: what people use to make every image cheaper."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from .entries import Pair


def _first_block(threshold: float) -> Callable[[], Any]:
    def config() -> Any:
        from diffusers import FirstBlockCacheConfig

        return FirstBlockCacheConfig(threshold=threshold)

    return config


def _taylor() -> Any:
    import torch
    from diffusers import TaylorSeerCacheConfig

    return TaylorSeerCacheConfig(taylor_factors_dtype=torch.float32)


CACHES: dict[str, Callable[[], Any]] = {
    "FirstBlockCache .2": _first_block(0.2),
    "FirstBlockCache .5": _first_block(0.5),
    "TaylorSeer": _taylor,
}


def caches_of(pipe: Any) -> list[str]:
    """The caches that this pipeline's model can be given; none where it has one enabled or takes none."""
    model = getattr(pipe, "transformer", None)
    if not hasattr(model, "enable_cache") or getattr(model, "_cache_config", None) is not None:
        return []
    return list(CACHES)


def cached(
    pipe: Any, call: Mapping[str, Any], name: str, pairs: Sequence[Pair]
) -> list[tuple[Any, float, float, float]]:
    """(image, high, low, finish) of plain calls under the cache `name`, which is off again afterwards.

    `high` is what the calls took of the time of plain calls, made in turn, in evaluations of those. A finish is the
    plain run, all of it: the final is the image without a cache.
    """
    steps, out = float(call["num_inference_steps"]), []
    for pair in pairs:
        _, plain = _timed(pipe, call, pair)
        with _enabled(pipe.transformer, CACHES[name]()):
            image, seconds = _timed(pipe, call, pair)
        out.append((image, steps * seconds / plain, 0.0, steps))
    return out


@contextmanager
def _enabled(model: Any, config: Any) -> Any:
    model.enable_cache(config)
    try:
        yield
    finally:
        model.disable_cache()


def _timed(pipe: Any, call: Mapping[str, Any], pair: Pair) -> tuple[Any, float]:
    import torch

    start = time.perf_counter()
    image = pipe(pair.prompt, generator=torch.Generator().manual_seed(pair.seed), **call).images[0]
    return image, time.perf_counter() - start
