"""Requests of recent previews: a finish is made from the preview's own request, not from what the page says now.

The key is the preview's infotext, all that the gallery sends to a button. The request of an earlier session is read
from the infotext alone, as far as it goes.
"""

from __future__ import annotations

import copy
import dataclasses
import math
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

MOST_REQUESTS = 256  # one is small, but may hold a picture that another extension was given
NOT_IN_REQUESTS = ("sd_model", "script_args", "scripts")


@dataclass(frozen=True)
class Request:
    """The arguments of one generation.

    Attributes:
        fields: arguments of the program's processing object.
        scripts, script_args: of its always-visible scripts.
        is_api: whether it came from an API client: some scripts read the page's values only otherwise.
        checkpoint: the title of the model that was loaded.
    """

    fields: Mapping[str, Any]
    scripts: Any
    script_args: tuple[Any, ...]
    is_api: bool = False
    checkpoint: str | None = None


def request_of(p: Any) -> Request:
    """The request of a generation that has not begun."""
    fields = {f.name: getattr(p, f.name) for f in dataclasses.fields(p) if f.init and f.name not in NOT_IN_REQUESTS}
    plain = {k: copy.copy(v) if isinstance(v, (list, dict)) else v for k, v in fields.items()}
    info = getattr(p.sd_model, "sd_checkpoint_info", None)
    title = getattr(info, "title", None)
    return Request(plain, p.scripts, tuple(p.script_args or ()), bool(getattr(p, "is_api", False)), title)


def request_for_image(request: Request, p: Any, position: int) -> Request:
    """The request of the one image at `position` among all of `p`, its prompt as it was resolved."""
    fields = {
        **request.fields,
        "prompt": p.all_prompts[position],
        "negative_prompt": p.all_negative_prompts[position],
        "styles": [],  # already in the prompt
        "seed": p.all_seeds[position],
        "subseed": p.all_subseeds[position],
        "batch_size": 1,
        "n_iter": 1,
        "do_not_save_grid": True,
    }
    return dataclasses.replace(request, fields=fields)


def processing_for(request: Request, make: Any, mode_at: int | None) -> Any:
    """The program's processing object for `request`: `make(**fields)`, with our script in mode "finish".

    `mode_at`: where the accordion's mode lies among the arguments of the scripts.
    """
    p = make(**{k: copy.copy(v) if isinstance(v, (list, dict)) else v for k, v in request.fields.items()})
    arguments = list(request.script_args)
    if mode_at is not None and mode_at < len(arguments):
        arguments[mode_at] = "finish"
    p.is_api = request.is_api
    p.scripts = request.scripts
    p.script_args = tuple(arguments)
    # Setting the arguments lets scripts overwrite fields with their controls' values, which are older than the request.
    for name in ("prompt", "negative_prompt", "seed", "subseed", "batch_size", "n_iter"):
        if name in request.fields:
            setattr(p, name, request.fields[name])
    return p


class Requests:
    """The last previews' requests, by infotext."""

    def __init__(self, most: int = MOST_REQUESTS) -> None:
        self._most, self._by_infotext = most, OrderedDict[str, Request]()

    def remember(self, infotext: str, request: Request) -> None:
        self._by_infotext[infotext] = request
        self._by_infotext.move_to_end(infotext)
        while len(self._by_infotext) > self._most:
            self._by_infotext.popitem(last=False)

    def of(self, infotext: str) -> Request | None:
        return self._by_infotext.get(infotext)


TEXTS = {
    "prompt": "Prompt",
    "negative_prompt": "Negative prompt",
    "sampler_name": "Sampler",
    "scheduler": "Schedule type",
    "hr_upscaler": "Hires upscaler",
    "hr_prompt": "Hires prompt",
    "hr_negative_prompt": "Hires negative prompt",
}
WHOLE = {
    "steps": ("Steps", 1, 150),
    "seed": ("Seed", 0, 2**64 - 1),
    "subseed": ("Variation seed", 0, 2**64 - 1),
    "width": ("Size-1", 64, 16384),
    "height": ("Size-2", 64, 16384),
    "seed_resize_from_w": ("Seed resize from-1", 0, 16384),
    "seed_resize_from_h": ("Seed resize from-2", 0, 16384),
    "hr_second_pass_steps": ("Hires steps", 0, 150),
    "hr_resize_x": ("Hires resize-1", 0, 16384),
    "hr_resize_y": ("Hires resize-2", 0, 16384),
}
NUMBERS = {
    "cfg_scale": ("CFG scale", 0.0, 1000.0),
    "distilled_cfg_scale": ("Distilled CFG Scale", 0.0, 1000.0),
    "subseed_strength": ("Variation seed strength", 0.0, 1.0),
    "denoising_strength": ("Denoising strength", 0.0, 1.0),
    "hr_scale": ("Hires upscale", 1.0, 16.0),
    "hr_cfg": ("Hires CFG Scale", 0.0, 1000.0),
}
NEEDED = ("prompt", "steps", "seed", "width", "height", "cfg_scale", "sampler_name")


def fields_from_infotext(parameters: Mapping[str, Any], known: set[str]) -> dict[str, Any]:
    """Those fields in `known` of a processing object that a parsed infotext of any origin has.

    ValueError names what is missing or out of range.
    """
    out: dict[str, Any] = {field: str(parameters[name]) for field, name in TEXTS.items() if name in parameters}
    for field, (name, least, most) in WHOLE.items():
        if name in parameters:
            out[field] = _number(name, parameters[name], least, most, whole=True)
    for field, (name, low, high) in NUMBERS.items():
        if name in parameters:
            out[field] = _number(name, parameters[name], low, high, whole=False)
    missing = [name for name in NEEDED if name not in out]
    if missing:
        raise ValueError(f"the image's infotext does not say its {', '.join(missing)}")
    twice = "Denoising strength" in parameters and any(k in parameters for k in ("Hires upscale", "Hires upscaler"))
    out["enable_hr"] = twice or bool("Denoising strength" in parameters and out.get("hr_resize_x"))
    return {k: v for k, v in {**out, "batch_size": 1, "n_iter": 1}.items() if k in known}


def _number(name: str, value: Any, least: float, most: float, *, whole: bool) -> Any:
    text = str(value).strip()
    try:
        if len(text) > 24:
            raise ValueError
        number: Any = int(text) if whole else float(text)
    except ValueError:
        raise ValueError(f"the image's infotext says {name}: {text!r:.40}, which is no number") from None
    if not math.isfinite(number) or not least <= number <= most:
        raise ValueError(f"the image's infotext says {name}: {text}, which lies outside {least}..{most}")
    return number
