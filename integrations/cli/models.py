"""Which model a command runs, how it is loaded, and the pipeline call that a request amounts to."""

from __future__ import annotations

import contextlib
import inspect
import os
import shlex
import sys
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import MissingInstall, Refusal
from ..sheets.model_folder import check_model_folder, offline
from ..sheets.record import ModelRecord

INSTALL = "pip install 'commutant[diffusers]' (in a checkout: pip install -e '.[diffusers]')"


@dataclass(frozen=True)
class Choice:
    """A model, before it is loaded. `name` None is the embedded one; dtype and device may be "auto"."""

    name: str | None
    dtype: str = "auto"
    device: str = "auto"

    def record(self) -> ModelRecord:
        """The choice with everything decided, its fingerprint still unknown. Looks at the machine, loads no model."""
        import_frameworks()
        device = _device(self.device)
        name = self.name
        if name is not None and Path(name).expanduser().is_dir():
            name = str(Path(name).expanduser().resolve())  # so that a finish finds it from any working folder
        elif name is not None and (name.startswith((".", "/", "~", os.sep)) or name.count("/") != 1):
            raise Refusal(f"no such model folder: {name} (if it moved, --model says where; a hub id is owner/name)")
        return ModelRecord("embedded" if name is None else "pretrained", name, _dtype(self.dtype, name, device), device)


def load(record: ModelRecord, *, quiet: bool = False, local: bool = False) -> Any:
    """The pipeline of a record; `quiet` or no terminal: without progress bars.

    A hub is asked only for a model that was named on the command line; `local` is for one that a sheet names. Code that
    comes with a model is never run (`model_folder.py`).

    Raises:
        Refusal: no such folder, no safetensors weights, code of its own, no such device; `local` and not here.
        MissingInstall: diffusers, torch or transformers cannot be imported.
    """
    import_frameworks()
    import torch

    bars = shows_bars() and not quiet
    _library_bars(bars)
    _device(record.device)
    dtype = getattr(torch, record.dtype, None)
    if not isinstance(dtype, torch.dtype):
        raise Refusal(f"no such dtype: {record.dtype}")
    if record.name is None:
        from ..scenes import load_scenes

        return _with_bars(load_scenes(dtype=dtype, device=record.device), bars)

    from diffusers import DiffusionPipeline

    from ..scenes import autoencoder  # noqa: F401 - diffusers finds a class outside its libraries where it is imported

    folder = _fetched(record.name, local)
    check_model_folder(folder)
    try:
        with warnings.catch_warnings(), offline():
            # Newer releases call it dtype; this name works in all of them until 1.0.
            warnings.filterwarnings("ignore", message=".*torch_dtype.*", category=FutureWarning)
            # Only safetensors: a pickled checkpoint may run anything while it loads.
            pipe = DiffusionPipeline.from_pretrained(
                folder, torch_dtype=dtype, use_safetensors=True, local_files_only=True, trust_remote_code=False
            )
    except (OSError, ValueError) as error:
        raise Refusal(f"cannot load {record.name}: {_in_short(error)}") from error
    return _with_bars(pipe.to(record.device), bars)


def _fetched(name: str, local: bool) -> Path:
    """The folder of a model; of a hub's, the copy on this machine, fetched first unless `local`."""
    from diffusers import DiffusionPipeline

    if Path(name).is_absolute():
        return Path(name)
    try:
        with offline() if local else contextlib.nullcontext():
            found = DiffusionPipeline.download(
                name, use_safetensors=True, local_files_only=local, trust_remote_code=False
            )
    except (OSError, ValueError) as error:
        if local:
            raise Refusal(
                f"{name} is not on this machine, and a model that a sheet names is loaded from local files only; if "
                f"you trust it, --model {shlex.quote(name)} fetches it (docs/trust.md)"
            ) from error
        raise Refusal(f"cannot load {name}: {_in_short(error)}") from error
    return Path(found)


def shows_bars() -> bool:
    """Whether progress bars go anywhere: not into log files and pipes."""
    return sys.stderr is not None and sys.stderr.isatty()


def _library_bars(shown: bool) -> None:
    import diffusers
    import transformers

    for library in (diffusers, transformers):
        logging = library.utils.logging
        (logging.enable_progress_bar if shown else logging.disable_progress_bar)()


def _with_bars(pipe: Any, shown: bool) -> Any:
    # The pipeline's own bar counts the steps of the run at hand, below the sheet's, and disappears with it.
    pipe.set_progress_bar_config(leave=False, desc="steps", disable=not shown)
    return pipe


def call_of(pipe: Any, asked: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """The plain pipeline call that was asked for: what the user gave, else the model's own values.

    Raises:
        Refusal: an argument that this pipeline does not take, or a size that it does not name.
    """
    call = {**defaults, **{k: v for k, v in asked.items() if v is not None}}
    for key in ("height", "width"):
        if key not in call:
            call[key] = _natural_size(pipe)
    taken = inspect.signature(type(pipe).__call__).parameters
    if not any(p.kind is p.VAR_KEYWORD for p in taken.values()):
        for key in call:
            if key not in taken:
                raise Refusal(f"{type(pipe).__name__} takes no {key!r}")
    return call


def defaults_of(record: ModelRecord) -> dict[str, Any]:
    """Arguments that a model's calls have unless the user gives others."""
    from ..scenes import SCENES_CALL_DEFAULTS, is_scenes

    return dict(SCENES_CALL_DEFAULTS) if record.name is None or is_scenes(Path(record.name)) else {}


def import_frameworks() -> None:
    """Import what every command with a model needs, or say what to install; switch off their notes to developers."""
    try:
        import diffusers
        import torch  # noqa: F401
        import transformers
        from diffusers import DiffusionPipeline  # noqa: F401 - loaded on first use: here a broken install shows
    except (ImportError, RuntimeError) as error:
        raise MissingInstall(f"{_in_short(error)}; install what is needed with {INSTALL}") from error
    for library in (diffusers, transformers):
        library.utils.logging.set_verbosity_error()


def _device(name: str) -> str:
    import torch

    mps = torch.backends.mps.is_available()
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "mps" if mps else "cpu"
    kind, _, index = name.partition(":")
    here = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": mps}.get(kind, False)
    if not here or (index and kind == "cuda" and int(index) >= torch.cuda.device_count()):
        raise Refusal(f"device {name} is not available here")
    return name


def _dtype(dtype: str, name: str | None, device: str) -> str:
    if dtype != "auto":
        return dtype
    # The embedded model is small enough to be exact; large ones are published and run in bfloat16.
    return "bfloat16" if name is not None and device.startswith("cuda") else "float32"


def _natural_size(pipe: Any) -> int:
    sample, factor = getattr(pipe, "default_sample_size", None), getattr(pipe, "vae_scale_factor", None)
    if not isinstance(sample, int) or not isinstance(factor, int):
        raise Refusal(f"{type(pipe).__name__} names no size of its own; give one with --size WIDTHxHEIGHT")
    return sample * factor


def _in_short(error: BaseException) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 300 else f"{text[:300]}..."
