"""What the buttons need of the program: its processing, its infotext parser, its queue. Imported on first use.

The only file beside `script.py` that names the program's modules.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from contextlib import closing
from importlib import import_module
from pathlib import Path
from typing import Any

from .requests import Request, fields_from_infotext, processing_for
from .tapes import MIB


def _module(name: str) -> Any:
    return import_module(f"modules.{name}")


def option(name: str, default: Any) -> Any:
    """One of the program's settings."""
    return getattr(_module("shared").opts, name, default)


def mebibytes(name: str, default: int) -> int:
    """One of the program's settings, a number of MiB, in bytes. An empty field means the default."""
    value = option(name, default)
    return max(0, int(default if value is None else value)) * MIB


def data_folder() -> Path:
    """The folder of the tapes on disk: beside the program's other caches."""
    return Path(_module("paths").data_path) / "cache" / "commutant-tapes"


def is_current() -> bool:
    """Whether the program calls scripts before every sampling: A1111 does from 1.10 on."""
    return hasattr(_module("scripts").Script, "process_before_every_sampling")


def parsed(infotext: str) -> dict[str, Any]:
    """The infotext as the program reads it."""
    return dict(_module("infotext_utils").parse_generation_parameters(infotext, []))


def request_from(infotext: str) -> Request:
    """A request from an infotext alone. ValueError where a field is missing or out of range."""
    make = _module("processing").StableDiffusionProcessingTxt2Img
    known = {f.name for f in dataclasses.fields(make) if f.init}
    parameters = parsed(infotext)
    fields = fields_from_infotext(parameters, known)
    parser = _module("infotext_utils")
    overrides = {setting: value for _, setting, value in parser.get_override_settings(parameters)}
    runner = _module("scripts").scripts_txt2img
    arguments = [getattr(control, "value", None) for control in runner.inputs]
    fields |= {"override_settings": overrides, **_folders(known)}
    return Request(fields, runner, (0, *arguments[1:]), is_api=True)


def final_of(request: Request, mode_at: int | None) -> tuple[Any, str, str] | None:
    """Image, infotext and comments of the finished request; None where the user interrupted it."""
    processing, shared = _module("processing"), _module("shared")
    p = processing_for(request, processing.StableDiffusionProcessingTxt2Img, mode_at)
    loaded = getattr(getattr(p.sd_model, "sd_checkpoint_info", None), "title", None)
    if request.checkpoint is not None and request.checkpoint != loaded:
        p.override_settings.setdefault("sd_model_checkpoint", request.checkpoint)
    with closing(p):
        processed = processing.process_images(p)
    if shared.state.interrupted or shared.state.skipped or not processed.images:
        return None
    first = processed.index_of_first_image
    return processed.images[first], processed.infotexts[first], processed.comments.strip()


def interrupted() -> bool:
    """Whether the user has asked to stop."""
    state = _module("shared").state
    return bool(state.interrupted or getattr(state, "stopping_generation", False))


def html(text: str, classname: str | None = None) -> str:
    """Plain text for the page."""
    made: str = _module("ui").plaintext_to_html(text, classname=classname)
    return made


def queued(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function` as a job of the program: after those before it, with progress, errors shown below the gallery.

    Forge does all its work in one thread of its own.
    """

    def run(*args: Any) -> Any:
        try:
            thread = import_module("modules_forge.main_thread")
        except ImportError:
            return function(*args)
        result = thread.run_and_wait_result(function, *args)
        if result is None:
            raise thread.last_exception or RuntimeError("the job ended without a result")
        return result

    wrapped: Callable[..., Any] = _module("call_queue").wrap_gradio_gpu_call(run, extra_outputs=[None, "", ""])
    return wrapped


def _folders(known: set[str]) -> dict[str, Any]:
    folders = {
        "outpath_samples": option("outdir_samples", "") or option("outdir_txt2img_samples", ""),
        "outpath_grids": option("outdir_grids", "") or option("outdir_txt2img_grids", ""),
        "do_not_save_grid": True,
    }
    return {k: v for k, v in folders.items() if k in known}
