"""Borrowing a user's pipeline for one call: whatever happens inside, it is handed back as it was."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

PATCHED = ("encode_prompt", "prepare_latents")
HOOKS = "_all_hooks"  # made anew with those on the modules at the end of every call of an offloaded pipeline
GLOBAL_SEED = 0  # of the global generators inside a borrowed pipeline


@contextmanager
def borrowed(pipe: Any, attributes: Mapping[str, Any]) -> Iterator[None]:
    """Restore on exit: the pipeline's private call state and patched methods, the whole scheduler, the global RNG.

    Some schedulers write into their configuration when they are given times (DPM-Solver++ with flow levels).

    `attributes` of the pipeline are set for the length of the block. Public attributes that a user's own callback sets
    on the pipeline stay: they are the user's.
    """
    import torch

    scheduler = pipe.scheduler
    of_pipe, of_scheduler, kind = dict(vars(pipe)), dict(vars(scheduler)), type(scheduler)
    of_config, of_lists = dict(vars(scheduler.config)), {k: list(v) for k, v in of_scheduler.items() if type(v) is list}
    devices = [pipe.device] if pipe.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        _seed(devices)
        try:
            vars(pipe).update(attributes)
            yield
        finally:
            scheduler.__class__ = kind
            vars(scheduler).clear()
            vars(scheduler).update(of_scheduler)
            for key, values in of_lists.items():
                of_scheduler[key][:] = values  # histories are written into in place
            vars(scheduler.config).clear()
            vars(scheduler.config).update(of_config)
            pipe.scheduler = scheduler
            ours = [k for k in vars(pipe) if k.startswith("_") or k in PATCHED or k in attributes]
            for key in ours:
                if key == HOOKS:
                    continue
                if key in of_pipe:
                    vars(pipe)[key] = of_pipe[key]
                else:
                    del vars(pipe)[key]


def _seed(devices: list[Any]) -> None:
    import torch

    # Not torch.manual_seed, which would seed devices that are not put back.
    torch.default_generator.manual_seed(GLOBAL_SEED)
    for device in devices:
        index = torch.cuda.current_device() if device.index is None else device.index
        torch.cuda.default_generators[index].manual_seed(GLOBAL_SEED)


def memoised(encode: Callable[..., Any], memo: dict[Any, Any]) -> Callable[..., Any]:
    """`encode_prompt` that remembers its answers for plain arguments (a preview encodes one prompt many times).

    Calls with tensors, or anything else that cannot be a key, are passed on.
    """

    def encode_prompt(*args: Any, **kwargs: Any) -> Any:
        key = _key((args, tuple(sorted(kwargs.items()))))
        if key is None:
            return encode(*args, **kwargs)
        if key not in memo:
            memo[key] = encode(*args, **kwargs)
        return memo[key]

    return encode_prompt


def _key(value: Any) -> Any:
    """A hashable stand-in for nested plain values; None when there is something else inside."""
    import torch

    if value is None or isinstance(value, (str, int, float, bool, torch.device, torch.dtype)):
        return (type(value).__name__, str(value))
    if isinstance(value, (list, tuple)):
        parts = tuple(_key(v) for v in value)
        return None if any(p is None for p in parts) else (type(value).__name__, parts)
    return None
