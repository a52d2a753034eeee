"""Which caches of diffusers a preview follows (`pipe.transformer.enable_cache(config)`), and how a tape names one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any

from .errors import UnsupportedError

SUPPORTED = (
    "FirstBlockCacheConfig",
    "MagCacheConfig",
    "PyramidAttentionBroadcastConfig",
    "TaylorSeerCacheConfig",
)
REFUSED = {
    "FasterCacheConfig": "it halves the transformer's batch and puts an estimate of its own in place of the unguided "
    "pass, counted over one uninterrupted run",
    "SeaCacheConfig": "it needs the step's number and sigma from the pipeline, which a preview's shorter tail changes",
}


def check_cache(module: Any, name: str) -> None:
    """UnsupportedError unless the cache on a denoiser, if there is one, is among `SUPPORTED`."""
    config = cache_config(module)
    if config is None:
        stray = sorted({type(hook).__name__ for hook in stateful_hooks(module)})
        if stray:
            raise UnsupportedError(
                f"{', '.join(stray)} on the {name} was not put there by enable_cache(), so diffusers does not clear it "
                "between runs; remove the hooks"
                + (
                    " and call enable_cache()"
                    if hasattr(module, "enable_cache")
                    else f" ({type(module).__name__} has no CacheMixin and takes no cache)"
                )
            )
        return
    kind = type(config).__name__
    way = f"call pipe.{name}.disable_cache(), or enable one of {', '.join(SUPPORTED)}"
    if kind not in SUPPORTED:
        why = f": {REFUSED[kind]}" if kind in REFUSED else ""
        raise UnsupportedError(f"previews do not follow the cache {kind}{why}; {way}")
    if getattr(config, "calibrate", False):
        raise UnsupportedError(f"{kind} with calibrate=True measures one plain run; run it plainly, or {way}")


def cache_config(module: Any) -> Any:
    """The configuration of the cache enabled on a denoiser, or None."""
    return getattr(module, "_cache_config", None)


def described(module: Any) -> str | None:
    """The enabled cache and its settings as text for a tape's header; None without a cache.

    Functions count by type only: they do not outlive the process whose tape this is.
    """
    config = cache_config(module)
    if config is None:
        return None
    settings = {f.name: getattr(config, f.name) for f in fields(config)} if is_dataclass(config) else {}
    return f"{type(config).__name__} {json.dumps(settings, sort_keys=True, default=_plain)}"


def stateful_hooks(module: Any) -> Iterator[Any]:
    """diffusers' hooks with a memory, on a module and everything in it."""
    for part in module.modules():
        registry = getattr(part, "_diffusers_hook", None)
        for hook in () if registry is None else registry.hooks.values():
            if hook._is_stateful:
                yield hook


def _plain(value: Any) -> Any:
    if hasattr(value, "tolist"):
        return value.tolist()
    return type(value).__name__ if callable(value) else str(value)
