"""Telling one model from another, and one setting of it from another, without reading all of it."""

from __future__ import annotations

import functools
import hashlib
import inspect
import json
from collections.abc import Iterator, Mapping
from typing import Any

import torch

from .schedulers import settled

SAMPLES = 16  # values read per tensor, evenly spaced: enough to tell any two trained tensors apart
STATE = ("_active_adapter", "_disable_adapters", "_enabled")  # private, of peft's layers and of diffusers' guiders
# Attributes that say where and in which pieces something is computed, where it came from, or what it was asked last.
HARMLESS = ("use_tiling", "use_slicing", "name_or_path", "warnings_issued", "gradient_checkpointing", "hf_device_map")
HARMLESS_BEGINNINGS = ("tile_", "use_framewise_")
UNSTABLE = ("transformers_version", "architectures", "torch_dtype", "dtype")  # of configurations: change by saving
READER = ("model_max_length", "padding_side", "truncation_side", "chat_template")  # of tokenizers
NOTHING = object()


def fingerprint(pipe: Any) -> str:
    """A short hash of a pipeline and of everything that changes what its models compute.

    Covered: classes, configurations (the pipeline's own included), dtypes, device kind, a few values of every weight
    and buffer, adapters with their scales and whether they are on, attention processors with their values, FreeU and
    other plain attributes of every module, training mode, hooks, autocast and the precision of matrix products. Not
    covered, because it changes none of the answers: where weights lie, compilation, tiling, slicing, progress bars.

    Two pipelines with the same fingerprint give the same images, up to the machine they run on.
    """
    digest = hashlib.sha256(type(pipe).__name__.encode())
    for name, component in sorted(pipe.components.items()):
        digest.update(f"\n{name}:".encode())
        for line in _component(component):
            digest.update(f"{line}\n".encode())
    own = {k: v for k, v in dict(pipe.config).items() if k not in pipe.components and not k.startswith("_")}
    digest.update(f"{_text(own)}{_text(_made_by_init(pipe))}{_arithmetic(pipe.device.type)}".encode())
    return digest.hexdigest()[:32]


def _component(component: Any) -> Iterator[str]:
    module = getattr(component, "_orig_mod", component)  # torch.compile wraps the module in one of its own
    yield type(module).__name__
    if isinstance(module, torch.nn.Module):
        yield _configuration(module.config) if hasattr(module, "config") else ""
        yield _weights(module)
        for key, part in module.named_modules():
            yield f"{key} {type(part).__name__} {_text(_settings(part))} {_text(list(_hooks(part)))}"
    elif hasattr(module, "config"):
        yield json.dumps({k: v for k, v in settled(module).items() if k[0] != "_"}, sort_keys=True, default=str)
        if hasattr(module, "set_timesteps"):  # its other attributes change with every run
            yield f"{getattr(module, 'shift', None)} {_values(getattr(module, 'alphas_cumprod', None))}"
        else:
            yield _text(_settings(module))
    elif hasattr(module, "padding_side"):
        yield f"{len(module)} {_text({k: getattr(module, k, None) for k in READER})}"


def _configuration(config: Any) -> str:
    plain = config.to_dict() if hasattr(config, "to_dict") else dict(config)
    attention = getattr(config, "_attn_implementation", None)
    return _text([{k: v for k, v in plain.items() if k[0] != "_" and k not in UNSTABLE}, attention])


def _settings(holder: Any) -> dict[str, Any]:
    """The plain attributes of a module or a guider, its processor and functions put over its own."""
    found: dict[str, Any] = {}
    for key, value in vars(holder).items():
        if (key[0] == "_" and key not in STATE) or key in HARMLESS or "cache" in key:
            continue
        if key.startswith(HARMLESS_BEGINNINGS) or value is None:  # what is None may be filled by the first run
            continue
        if key == "forward" and (hasattr(holder, "_hf_hook") or hasattr(holder, "_diffusers_hook")):
            continue  # the door of these hooks, which `_hooks` describes
        if key == "processor":
            found[key] = [type(value).__name__, _plain(getattr(value, "__dict__", {}))]
        elif (plain := _plain(value)) is not NOTHING:
            found[key] = plain
    if isinstance(holder, torch.nn.Module):
        found["forward of"] = type(holder).forward.__qualname__
    return found


def _hooks(module: torch.nn.Module) -> Iterator[Any]:
    """What stands before or behind a module's answers. Hooks that only move weights do not; caches have a tape's field.

    A hook's function can be told by its name only.
    """
    for hook in (*module._forward_pre_hooks.values(), *module._forward_hooks.values()):
        if not str(getattr(hook, "__module__", "")).startswith("transformers."):  # put there by its first run
            yield _plain(hook)
    registry, accelerate = getattr(module, "_diffusers_hook", None), getattr(module, "_hf_hook", None)
    hooks = list(registry.hooks.values()) if registry is not None else []
    hooks += list(getattr(accelerate, "hooks", [] if accelerate is None else [accelerate]))
    for hook in hooks:
        kind = type(hook)
        apart = "offload" in kind.__module__ or "cache" in kind.__module__ or getattr(hook, "_is_stateful", False)
        if not apart and kind.__name__ not in ("AlignDevicesHook", "CpuOffload", "ModelHook"):
            yield [kind.__name__, _plain({k: v for k, v in vars(hook).items() if k != "fn_ref"})]


def _made_by_init(pipe: Any) -> dict[str, Any]:
    """The plain public attributes that the pipeline's class sets; others may be a user's callback's."""
    names: set[str] = set()
    for kind in type(pipe).__mro__[:-1]:
        code = getattr(inspect.unwrap(vars(kind).get("__init__", object.__init__)), "__code__", None)
        names.update(code.co_names if code is not None else ())
    public = {k: _plain(v) for k, v in vars(pipe).items() if k in names and k[0] != "_"}
    return {k: v for k, v in public.items() if v is not NOTHING and v is not None}


def _arithmetic(device: str) -> str:
    on = torch.is_autocast_enabled(device) if torch.amp.is_autocast_available(device) else False
    return f"{device} {torch.get_autocast_dtype(device) if on else None} {torch.get_float32_matmul_precision()}"


def _plain(value: Any, depth: int = 0) -> Any:
    """`value` as JSON can hold it; NOTHING for what says nothing, or cannot be read."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, torch.dtype):
        return str(value)
    if depth < 8 and isinstance(value, Mapping):
        items = {str(k): _plain(v, depth + 1) for k, v in value.items()}
        return {k: v for k, v in items.items() if v is not NOTHING}
    if depth < 8 and isinstance(value, (list, tuple, set, frozenset)):
        items_ = [v for v in (_plain(v, depth + 1) for v in value) if v is not NOTHING]
        return sorted(items_, key=str) if isinstance(value, (set, frozenset)) else items_
    if isinstance(value, functools.partial):
        return ["partial", _plain(value.func, depth + 1), _plain(value.args, depth + 1), _plain(value.keywords)]
    name = getattr(value, "__qualname__", None)
    return NOTHING if name is None else name


def _text(value: Any) -> str:
    return json.dumps(_plain(value), sort_keys=True)


def _weights(module: torch.nn.Module) -> str:
    digest = hashlib.sha256()
    tensors = dict(module.named_buffers()) | module.state_dict()  # buffers that are not saved, too
    for key, tensor in tensors.items():
        if isinstance(tensor, torch.Tensor):
            digest.update(f"{key}{_values(tensor)}".encode())
    return digest.hexdigest()


def _values(tensor: torch.Tensor | None) -> str:
    """Shape, dtype, and a few values where there are any (offloaded weights may be on the meta device)."""
    if tensor is None:
        return ""
    text = f"{tuple(tensor.shape)}{tensor.dtype}"
    if tensor.device.type == "meta" or not tensor.numel():
        return text
    at = torch.linspace(0, tensor.numel() - 1, min(SAMPLES, tensor.numel())).long()
    values = tensor.detach().reshape(-1)[at.to(tensor.device)].cpu().contiguous()
    return text + values.view(torch.uint8).numpy().tobytes().hex()
