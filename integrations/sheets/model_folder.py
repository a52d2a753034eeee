"""A model folder is data: what it names is read and judged before any of it is loaded.

`DiffusionPipeline.from_pretrained` imports the module that an index names, or runs a file that lies beside it: releases
before 0.38 without being asked, later ones still import installed modules. A sheet from somebody else may name a folder
from somebody else, so the decision is made here, for every release alike: classes of diffusers and transformers only,
and no Python file in the folder.
"""

from __future__ import annotations

import contextlib
import importlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ...errors import Refusal
from .reading import read_limited

_LARGEST = 16 * 2**20  # of a configuration, in bytes; they have some thousands
# The embedded model's own part, by the name it is saved under, and by that of earlier weights.
_OWN = (("commutant", "ScenesAutoencoder"), ("commutant.integrations.scenes.autoencoder", "ScenesAutoencoder"))
# What a component may be; a pipeline is none, since it would bring an index of its own.
_PARTS = {
    "diffusers": ("ModelMixin", "SchedulerMixin"),
    "transformers": (
        "PreTrainedModel",
        "PreTrainedTokenizerBase",
        "FeatureExtractionMixin",
        "ImageProcessingMixin",
        "ProcessorMixin",
    ),
}


def check_model_folder(folder: Path) -> None:
    """Refuse, before anything is imported or loaded, a pipeline folder that could run code of its own.

    Raises:
        Refusal: no readable `model_index.json`; a class that diffusers or transformers do not have; Python files; a
            pipeline that loads others; a kernel from elsewhere. The message says which file and why.
    """
    index = _json(folder / "model_index.json")
    parts = [name for name, value in index.items() if not name.startswith("_") and _names_a_part(value)]
    _check_pipeline(index.get("_class_name"), folder)
    for name in parts:
        if not name.isidentifier():  # it becomes a path
            raise Refusal(f"{folder}: model_index.json names a part {name!r:.60}")
        _check_part(name, index[name], folder)
    for place in (folder, *(folder / name for name in parts)):
        if not place.is_dir():
            continue
        for path in sorted(place.iterdir()):
            if path.suffix == ".py":
                raise Refusal(
                    f"{path} is Python code, and no code of a model is run: remove it if the model needs none, or load "
                    "the pipeline yourself in Python (docs/trust.md)"
                )
            if path.name == "config.json":
                _check_kernels(_json(path), path)


@contextlib.contextmanager
def offline() -> Iterator[None]:
    """Nothing is asked of the hub meanwhile, whatever a configuration names."""
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def _names_a_part(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and value[0] is not None and not isinstance(value[0], (int, float))


def _check_pipeline(name: Any, folder: Path) -> None:
    import diffusers

    kind = getattr(diffusers, name, None) if isinstance(name, str) else None
    if not (isinstance(kind, type) and issubclass(kind, diffusers.DiffusionPipeline) and _is_of(kind, "diffusers")):
        raise Refusal(
            f"{folder}: model_index.json names the pipeline {name!r:.80}, which is none of the installed diffusers; "
            "code that comes with a model is never run (docs/trust.md)"
        )
    if getattr(kind, "_load_connected_pipes", False):
        raise Refusal(f"{folder}: {name} loads further models by itself; give the model it would load")


def _check_part(part: str, value: list[Any], folder: Path) -> None:
    library, name = value if len(value) == 2 else (None, None)
    if (library, name) in _OWN:
        importlib.import_module("..scenes.autoencoder", __package__)  # later releases take only what is imported
        return
    kind = _class_of(library, name) if isinstance(library, str) and isinstance(name, str) else None
    bases = [getattr(importlib.import_module(m), base, None) for m, names in _PARTS.items() for base in names]
    allowed = tuple(base for base in bases if isinstance(base, type))
    if not (isinstance(kind, type) and issubclass(kind, allowed) and _is_of(kind, *_PARTS)):
        raise Refusal(
            f"{folder}: model_index.json says that {part} is {value!r:.120}, which is no model, scheduler, "
            "tokenizer or processor of the installed diffusers and transformers; code that comes with a model is never "
            "run (docs/trust.md)"
        )


def _class_of(library: str, name: str) -> Any:
    """What diffusers would load, looked up in the two libraries alone: no module that is named is imported."""
    from diffusers import pipelines

    if library in _PARTS:
        # Indices of 2022 name the image processors by their names of then, which diffusers translates.
        names: tuple[str, ...] = (name, name.replace("FeatureExtractor", "ImageProcessor"))
        module: Any = importlib.import_module(library)
    elif library.isidentifier() and (Path(pipelines.__path__[0]) / library).is_dir():
        names, module = (name,), getattr(pipelines, library, None)
    else:
        return None
    return next((found for n in names if (found := getattr(module, n, None)) is not None), None)


def _is_of(kind: type, *libraries: str) -> bool:
    return kind.__module__.partition(".")[0] in libraries


def _check_kernels(data: Any, path: Path) -> None:
    """Refuse an attention or expert implementation that is the id of a repository: it would be fetched and run."""
    waiting = [data]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            for key, entry in value.items():
                if key.endswith("_implementation") and "/" in json.dumps(entry):
                    raise Refusal(f"{path}: {key} names code to be fetched ({entry!r:.80}); it is never run")
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value


def _json(path: Path) -> Any:
    try:
        data = json.loads(read_limited(path, _LARGEST, "a configuration", links=True))
    except FileNotFoundError:
        raise Refusal(f"{path.parent} is no model folder of diffusers: it has no {path.name}") from None
    except (ValueError, RecursionError) as error:
        if isinstance(error, Refusal):
            raise
        raise Refusal(f"{path} is not readable as JSON") from None
    if path.name == "model_index.json" and not isinstance(data, dict):
        raise Refusal(f"{path} is no index of a model")
    return data
