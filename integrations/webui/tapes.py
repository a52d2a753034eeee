"""Tapes of recent previews: which run one belongs to, and where it lies.

The key of a tape is a digest of everything that determines the first steps of one image: what the infotext says, the
program's settings, the model files as they lie on disk, and the arguments of other scripts. A digest that leaves
something out would continue another picture. The noise and the schedule are compared with the tape itself before it is
used.

Tapes are held in memory up to a size, then on disk up to a size, then deleted: that costs time only. What is read back
from the disk is as untrusted as any file: a tape that is changed, truncated or not a tape counts as missing, and is
deleted.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ...commutator import Tape, TapeError

MIB = 2**20
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
# Settings of where files go and what the page looks like, by how their names begin. All others count: a finish after
# another setting was changed costs time, a finish that continues another picture would be wrong.
UNRELATED_OPTIONS = (
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
        "options": {
            k: v for k, v in (getattr(options, "data", None) or {}).items() if not k.startswith(UNRELATED_OPTIONS)
        },
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
    """LoRAs that are applied now, with their strengths, from the built-in extension."""
    loaded = getattr(sys.modules.get("networks"), "loaded_networks", None) or []
    names = ("name", "te_multiplier", "unet_multiplier", "dyn_dim")
    files = [_file(getattr(getattr(n, "network_on_disk", None), "filename", None)) for n in loaded]
    return [[str(getattr(n, a, None)) for a in names] + [f] for n, f in zip(loaded, files)]


def _script_arguments(p: Any) -> list[Any]:
    """The arguments of the always-visible scripts, without ours and those that only fill in fields of `p`."""
    arguments = list(p.script_args or ())
    found = []
    for script in getattr(p.scripts, "alwayson_scripts", None) or []:
        if getattr(script, "commutant", False) or getattr(script, "setup_for_ui_only", False):
            continue
        start, end = getattr(script, "args_from", None), getattr(script, "args_to", None)
        if isinstance(start, int) and isinstance(end, int):
            found.append([str(type(script).__name__), arguments[start:end]])
    return found


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


class TapeStore:
    """Least recently used first out, of memory to disk, and of the disk for good. Safe to use from several threads."""

    def __init__(self, folder: Path, *, memory: int = 1024 * MIB, disk: int = 4096 * MIB) -> None:
        """`memory`, `disk`: bytes. `folder` is made on the first spill; tapes of an earlier session in it are found."""
        self.folder, self.memory, self.disk = Path(folder), memory, disk
        self._tapes: OrderedDict[str, Tape] = OrderedDict()
        self._lock = threading.RLock()

    def put(self, key: str, tape: Tape) -> None:
        """Store `tape` under `key`, a SHA-256 in hex. ValueError for any other key: it becomes a file's name."""
        path = self._path(key)
        with self._lock:
            self._tapes[key] = tape
            self._tapes.move_to_end(key)
            path.unlink(missing_ok=True)
            while self._tapes and self.in_memory > self.memory:
                self._spill(*self._tapes.popitem(last=False))

    def get(self, key: str) -> Tape | None:
        """The tape under `key`, or None where it is missing."""
        path = self._path(key)
        with self._lock:
            if key in self._tapes:
                self._tapes.move_to_end(key)
                return self._tapes[key]
            try:
                tape = Tape.load(path, framework="torch")
                path.touch()
                return tape
            except FileNotFoundError:
                return None
            except (TapeError, OSError) as error:
                print(f"commutant: {path.name} cannot be used: {error}")
                path.unlink(missing_ok=True)
                return None

    def clear(self) -> None:
        """Forget all tapes, those on disk too."""
        with self._lock:
            self._tapes.clear()
            for path in self._files():
                path.unlink(missing_ok=True)

    @property
    def in_memory(self) -> int:
        """Bytes of the tapes in memory."""
        return sum(size_of(tape) for tape in self._tapes.values())

    @property
    def on_disk(self) -> int:
        """Bytes of the tapes on disk."""
        return sum(path.stat().st_size for path in self._files())

    def _spill(self, key: str, tape: Tape) -> None:
        if size_of(tape) > self.disk:
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            tape.save(self._path(key))
            files = sorted(self._files(), key=lambda path: path.stat().st_mtime_ns)
            while files and sum(path.stat().st_size for path in files) > self.disk:
                files.pop(0).unlink(missing_ok=True)
        except OSError as error:  # a full disk costs the tape, not the picture
            print(f"commutant: a tape could not be stored on disk: {error}")

    def _files(self) -> list[Path]:
        return [path for path in self.folder.glob("*.tape") if _is_key(path.stem)] if self.folder.is_dir() else []

    def _path(self, key: str) -> Path:
        if not _is_key(key):
            raise ValueError(f"a tape's key is a SHA-256 in hex, got {key!r:.80}")
        return self.folder / f"{key}.tape"


def size_of(tape: Tape) -> int:
    """Bytes of the tape's arrays."""
    arrays = [*tape.outputs, tape.noise, tape.state, *([] if tape.rng is None else [tape.rng])]
    return sum(int(array.nbytes) for array in arrays)


def _is_key(text: str) -> bool:
    return len(text) == 64 and all(c in "0123456789abcdef" for c in text)
