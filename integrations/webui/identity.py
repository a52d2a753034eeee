"""Which run a tape belongs to: a digest of everything that determines the first steps of one image.

A digest that leaves something out would continue another picture. So it holds what the infotext would say, the
program's settings, the model files as they lie on disk, and what other scripts were told. What is left, the
noise and the schedule, is compared with the tape itself before it is used.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

P_FIELDS = (
    "steps",
    "sampler_name",
    "scheduler",
    "cfg_scale",
    "distilled_cfg_scale",
    "image_cfg_scale",
    "width",
    "height",
    "tiling",
    "subseed_strength",
    "seed_resize_from_h",
    "seed_resize_from_w",
    "eta",
    "s_min_uncond",
    "s_churn",
    "s_tmin",
    "s_tmax",
    "s_noise",
    "sd_model_name",
    "sd_model_hash",
    "sd_vae_name",
    "sd_vae_hash",
    "disable_extra_networks",
    "token_merging_ratio",
)
# Settings that say where files go and what the page looks like, by how their names begin. All others count: a finish
# after another setting was changed costs time, a finish that continues another picture would be wrong.
ELSEWHERE = (
    "commutant_",
    "sd_model_checkpoint",  # the file itself is in the digest
    "sd_checkpoint_hash",
    "outdir_",
    "directories_",
    "samples_",
    "save_",
    "grid_",
    "return_",
    "do_not_show_images",
    "gallery_",
    "ui_",
    "quicksettings",
    "localization",
    "notification_",
    "font",
    "theme",
    "live_preview",
    "show_progress",
    "hide_",
    "hidden_",
    "disabled_extensions",
)


def key_of(p: Any, index: int) -> str:
    """The SHA-256, in hex, for the image at `index` of the batch that `p` is sampling."""
    model = p.sd_model
    options = _options()
    parts = {
        "prompt": _at(getattr(p, "all_prompts", None), p, index),
        "negative": _at(getattr(p, "all_negative_prompts", None), p, index),
        "seed": p.seeds[index],
        "subseed": p.subseeds[index] if p.subseed_strength else None,
        "fields": {name: getattr(p, name, None) for name in P_FIELDS},
        "options": {k: v for k, v in (getattr(options, "data", None) or {}).items() if not k.startswith(ELSEWHERE)},
        "checkpoint": _file(getattr(getattr(model, "sd_checkpoint_info", None), "filename", None)),
        "modules": [_file(m) for m in getattr(options, "forge_additional_modules", None) or []],
        "vae": _file(getattr(model, "loaded_vae_file", None)),
        "networks": _networks(),
        "scripts": _script_arguments(p),
    }
    digest = hashlib.sha256()
    _describe(digest, parts, 0)
    return digest.hexdigest()


def _at(texts: Any, p: Any, index: int) -> Any:
    position = p.iteration * p.batch_size + index
    return texts[position] if isinstance(texts, list) and position < len(texts) else None


def _options() -> Any:
    shared = sys.modules.get("modules.shared")
    return getattr(shared, "opts", None)


def _file(path: Any) -> Any:
    """A file as it lies on disk: a model that was replaced under its name is another model."""
    try:
        found = os.stat(path)
    except (OSError, TypeError):
        return str(path)
    return [str(path), found.st_size, found.st_mtime_ns]


def _networks() -> Any:
    """LoRAs that are applied now, with their strengths, as the built-in extension tells."""
    loaded = getattr(sys.modules.get("networks"), "loaded_networks", None) or []
    names = ("name", "te_multiplier", "unet_multiplier", "dyn_dim")
    files = [_file(getattr(getattr(n, "network_on_disk", None), "filename", None)) for n in loaded]
    return [[str(getattr(n, a, None)) for a in names] + [f] for n, f in zip(loaded, files)]


def _script_arguments(p: Any) -> list[Any]:
    """What the always-visible scripts were told, ours, and those that only fill in fields of `p`, left out."""
    arguments = list(p.script_args or ())
    told = []
    for script in getattr(p.scripts, "alwayson_scripts", None) or []:
        if getattr(script, "commutant", False) or getattr(script, "setup_for_ui_only", False):
            continue
        start, end = getattr(script, "args_from", None), getattr(script, "args_to", None)
        if isinstance(start, int) and isinstance(end, int):
            told.append([str(type(script).__name__), arguments[start:end]])
    return told


def _describe(digest: Any, value: Any, depth: int) -> None:
    """Feed `value` to `digest`: plain values, arrays and pictures by content, other objects by type and attributes."""
    if value is None or isinstance(value, (bool, int, float, str)):
        digest.update(json.dumps([type(value).__name__, str(value)]).encode())
    elif isinstance(value, (bytes, bytearray)):
        digest.update(b"bytes %d;" % len(value) + bytes(value))
    elif depth > 8:
        digest.update(type(value).__name__.encode())
    elif isinstance(value, Mapping):
        digest.update(b"map %d;" % len(value))
        for key in sorted(value, key=str):
            digest.update(json.dumps(str(key)).encode())
            _describe(digest, value[key], depth + 1)
    elif isinstance(value, Sequence):
        digest.update(b"list %d;" % len(value))
        for item in value:
            _describe(digest, item, depth + 1)
    elif hasattr(value, "tobytes"):  # numpy arrays and PIL images
        digest.update(f"{type(value).__name__} {getattr(value, 'shape', getattr(value, 'size', ''))};".encode())
        digest.update(value.tobytes())
    elif type(value).__module__.split(".")[0] == "torch" and hasattr(value, "detach"):
        _describe(digest, value.detach().cpu().float().numpy(), depth + 1)
    else:
        digest.update(type(value).__name__.encode())
        _describe(
            digest,
            {k: v for k, v in vars(value).items() if not callable(v)} if hasattr(value, "__dict__") else None,
            depth + 1,
        )
