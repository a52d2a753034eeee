"""Checking a request before anything is computed."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from operator import index
from typing import Any

import torch

from ...commutator import Plan, TapeError
from ..errors import UnsupportedError
from ..sheet import Preview
from .caches import cache_config
from .families import Family, family_of
from .schedulers import binding_of, steps_of

# Arguments of the plain call that the previewer sets itself, each with the way to say what is meant.
OWN = {
    "generator": "give it to preview() itself, or give seeds",
    "latents": "the noise of a preview is the noise of its seed: give seeds or generator",
    "num_images_per_prompt": "give one seed per image",
    "num_videos_per_prompt": "give one seed per video",
    "return_dict": "previews are returned as a sheet",
    "timesteps": "give num_inference_steps or sigmas",
}
EMBEDS = tuple(
    f"{sign}{name}"
    for sign in ("", "negative_")
    for name in (
        "prompt_embeds",
        "pooled_prompt_embeds",
        "prompt_embeds_mask",
        "prompt_attention_mask",
        "prompt_embeds_2",
        "prompt_embeds_mask_2",
    )
)
PROMPTS = tuple(f"{sign}prompt{n}" for sign in ("", "negative_") for n in ("", "_2", "_3", "_4"))
IMAGES = ("image", "mask_image", "strength", "control_image")


@dataclass(frozen=True)
class Request:
    """A checked request: `call` holds what every plain pipeline call of it gets, for one image each.

    Attributes:
        prompts: one per image. generators: state of each image's generator before its run, with its device.
        height, width: high resolution in pixels. steps: N of the final.
    """

    family: Family
    call: Mapping[str, Any]
    prompts: Sequence[Any]
    seeds: Sequence[int | None]
    rng: Sequence[torch.Tensor]
    rng_device: str
    height: int
    width: int
    steps: int

    @classmethod
    def of_previews(cls, pipe: Any, previews: Sequence[Preview]) -> Request:
        """The request that these previews were made of. ValueError for previews of several requests."""
        first = previews[0]
        calls = [{k: v for k, v in p.call.items() if k not in ("prompt", "height", "width")} for p in previews]
        sizes = {(p.call["height"], p.call["width"], p.tape.header["steps"]) for p in previews}
        same = all(
            call.keys() == calls[0].keys() and all(v is calls[0][k] or _equal(v, calls[0][k]) for k, v in call.items())
            for call in calls
        )
        if len(sizes) != 1 or not same:
            raise ValueError("previews made again together must come of one request: only prompt and seed may differ")
        height, width, steps = sizes.pop()
        return cls(
            family_of(pipe),
            calls[0],
            [p.call.get("prompt") for p in previews],
            [p.seed for p in previews],
            [p.tape.rng for p in previews if p.tape.rng is not None],
            first.tape.header["rng_device"],
            height,
            width,
            steps,
        )

    def batch(self, indices: Sequence[int], **changes: Any) -> dict[str, Any]:
        """Arguments of one plain call that makes the images `indices` together (without a generator)."""
        count = len(indices)
        out = dict(self.call)
        for key in PROMPTS:
            if isinstance(out.get(key), str) and count > 1:
                out[key] = [out[key]] * count
        for key in EMBEDS:
            if out.get(key) is not None:
                out[key] = out[key].expand(count, *out[key].shape[1:])
        if self.prompts[0] is not None:
            chosen = [self.prompts[i] for i in indices]
            out["prompt"] = chosen[0] if count == 1 else chosen
        return out | {"height": self.height, "width": self.width, **changes}

    def generators(self, indices: Sequence[int]) -> Any:
        """Fresh generators in the recorded states: a list for several images, one for one."""
        return restored_all([self.rng[i] for i in indices], self.rng_device)


def _equal(a: Any, b: Any) -> bool:
    if isinstance(a, torch.Tensor) or isinstance(b, torch.Tensor):
        return isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor) and torch.equal(a, b)
    return bool(a == b)


def restored_all(states: Sequence[torch.Tensor], device: str) -> Any:
    """Generators in recorded states, as a pipeline takes them: a list for several images, one for one."""
    made = [restored(state, device) for state in states]
    return made[0] if len(made) == 1 else made


def restored(state: torch.Tensor, device: str) -> torch.Generator:
    """A generator on `device` in a recorded state. TapeError where the state is none of that device's."""
    try:
        generator = torch.Generator(device)
        generator.set_state(state.to(torch.uint8).cpu())
    except (RuntimeError, TypeError) as error:
        raise TapeError(f"the recorded generator state does not fit a {device} generator here: {error}") from None
    return generator


def checked(pipe: Any, prompt: Any, seeds: Any, generator: Any, scale: Fraction, call: Mapping[str, Any]) -> Request:
    """Validate everything that can be validated without the model.

    Raises:
        UnsupportedError: pipeline, scheduler, argument or size that previews do not drive, with the way out.
        ValueError, TypeError: arguments that make no sense together, or that the pipeline does not have.
    """
    family = family_of(pipe)
    parameters = inspect.signature(type(pipe).__call__).parameters
    for key, value in call.items():
        if key in OWN:
            raise UnsupportedError(f"{key}= is not taken by preview(): {OWN[key]}")
        if key in IMAGES and key not in family.conditions:
            raise UnsupportedError(
                f"{key}= : image-conditioned generation and masks are not supported, only text to image"
            )
        if key not in parameters:
            raise TypeError(f"{type(pipe).__name__} takes no argument {key!r}")
        if key == "control_image" and any(isinstance(v, torch.Tensor) for v in _listed(value)):
            raise UnsupportedError(
                f"{type(pipe).__name__} takes a tensor as control_image as it is, at one resolution; give a PIL image"
            )
        if key in family.refused and value is not None and not _default(value, parameters[key].default):
            raise UnsupportedError(f"{key}= is not supported by previews: {family.refused[key]}; leave it out")
    _plain_callback(call.get("callback_on_step_end"))

    states, names, device = _generators(seeds, generator)
    prompts = _prompts(prompt, call, len(states))
    height, width = _size(pipe, family, call, parameters)
    check_size(family.size_unit(pipe), scale, height, width, type(pipe).__name__)
    steps = call.get("num_inference_steps")
    if call.get("sigmas") is not None:
        steps = steps_of(pipe.scheduler, call["sigmas"])
    elif steps is None:
        steps = parameters["num_inference_steps"].default
    rest = {k: v for k, v in call.items() if k not in ("height", "width")}
    return Request(family, rest, prompts, names, states, device, height, width, int(steps))


def _listed(value: Any) -> Sequence[Any]:
    return value if isinstance(value, (list, tuple)) else [value]


def _default(value: Any, default: Any) -> bool:
    return isinstance(value, (bool, int, float, str)) and value == default


def _size(pipe: Any, family: Family, call: Mapping[str, Any], parameters: Mapping[str, Any]) -> tuple[int, int]:
    """(height, width) that the plain call makes, in pixels."""
    sides = ("height", "width")
    given = {side: call[side] if side in call else parameters[side].default for side in sides}
    if family.sides_together and not all(given.values()):
        given = dict.fromkeys(sides)  # the pipeline ignores a lone side
    height, width = (int(given[side] or _side(pipe, family)) for side in sides)
    return height, width


def _side(pipe: Any, family: Family) -> int:
    """Pixels of a side that the call leaves to the pipeline."""
    cells = getattr(pipe, "default_sample_size", None) or getattr(pipe, family.denoiser).config.get("sample_size", 0)
    side = cells * family.cell_size(pipe) if isinstance(cells, int) else 0
    if not side:
        raise ValueError(f"{type(pipe).__name__} does not say which size it makes by itself: give height and width")
    return int(side)


def check_size(unit: int, scale: Fraction, height: int, width: int, name: str) -> None:
    """Both resolutions must be whole multiples of the pipeline's unit; UnsupportedError names the nearest such size."""
    step = unit * scale.numerator  # the fraction is in lowest terms: only then is side / scale a multiple of unit
    if height > 0 and width > 0 and height % step == 0 and width % step == 0:
        return
    near = " or ".join(f"{w}x{h}" for w, h in _nearest(width, height, step))
    raise UnsupportedError(
        f"{name} at {width}x{height} (width x height) has no preview at scale {scale}: both sides must be multiples of "
        f"{step} pixels so that the low resolution is a multiple of {unit}; nearest: {near}"
    )


def _nearest(width: int, height: int, step: int) -> list[tuple[int, int]]:
    def around(n: int) -> tuple[int, int]:
        down = max(step, n // step * step)
        return down, down if n == down else down + step

    (w0, w1), (h0, h1) = around(width), around(height)
    return [(w0, h0)] if (w0, h0) == (w1, h1) else [(w0, h0), (w1, h1)]


def _generators(seeds: Any, generator: Any) -> tuple[list[torch.Tensor], list[int | None], str]:
    if (seeds is None) == (generator is None):
        raise ValueError("give either seeds (whole numbers) or generator (one torch.Generator per image)")
    if seeds is not None:
        numbers = _whole(seeds)
        if not numbers:
            raise ValueError("seeds is empty: there is nothing to preview")
        # CPU generators draw the same noise wherever the model runs, which is what diffusers' own guide recommends.
        return [torch.Generator().manual_seed(s).get_state() for s in numbers], list(numbers), "cpu"
    given = [generator] if isinstance(generator, torch.Generator) else list(generator)
    if not given or not all(isinstance(g, torch.Generator) for g in given):
        raise TypeError("generator must be a torch.Generator, or one per image")
    devices = {g.device.type for g in given}
    if len(devices) != 1:
        raise UnsupportedError(f"generators on several kinds of device ({sorted(devices)}); use one kind")
    return [g.get_state() for g in given], [None] * len(given), devices.pop()


def _whole(seeds: Any) -> list[int]:
    """The seeds as numbers that a torch.Generator takes. TypeError for what is no whole number, ValueError outside."""
    given = [seeds] if hasattr(seeds, "__index__") and not getattr(seeds, "ndim", 0) else list(seeds)
    numbers = []
    for seed in given:
        if not hasattr(seed, "__index__") or isinstance(seed, bool):
            raise TypeError(f"seeds must be whole numbers, got {seed!r}")
        if not -(2**63) <= index(seed) < 2**64:
            raise ValueError(f"seeds must fit 64 bits (-2**63 to 2**64 - 1), got {seed!r}")
        numbers.append(index(seed))
    return numbers


def _prompts(prompt: Any, call: Mapping[str, Any], count: int) -> list[Any]:
    if prompt is None:
        if call.get("prompt_embeds") is None:
            raise ValueError("give a prompt, or prompt_embeds")
        for key in EMBEDS:
            if call.get(key) is not None and call[key].shape[0] != 1:
                raise UnsupportedError(f"{key} must hold one prompt (batch size 1), got {call[key].shape[0]}")
        return [None] * count
    if isinstance(prompt, str):
        return [prompt] * count
    prompts = list(prompt)
    if len(prompts) != count or not all(isinstance(p, str) for p in prompts):
        raise ValueError(f"a list of prompts needs one per image: got {len(prompts)} for {count}")
    for key in PROMPTS[1:]:
        if isinstance(call.get(key), (list, tuple)):
            raise UnsupportedError(f"{key} must be one string for all images")
    return prompts


def _plain_callback(callback: Any) -> None:
    if callback is None:
        return
    from diffusers.callbacks import MultiPipelineCallbacks, PipelineCallback

    if isinstance(callback, (PipelineCallback, MultiPipelineCallbacks)):
        raise UnsupportedError(
            f"{type(callback).__name__} changes the guidance at a step of its own, which a preview's shorter tail does "
            "not have; pass a plain function, or leave it out"
        )


def check_plan(plan: Plan, request: Request, pipe: Any) -> None:
    """ValueError where plan and request do not fit."""
    if plan.own_schedule and request.call.get("sigmas") is not None:
        raise UnsupportedError("a plan without a head makes its own schedule at high resolution; leave out sigmas=")
    binding, family = binding_of(pipe.scheduler), request.family
    for stage in plan.stages:
        check_size(family.size_unit(pipe), stage.scale, request.height, request.width, type(pipe).__name__)
    if any(stage.order == 2 for stage in plan.stages) and not binding.first_order:
        raise UnsupportedError(
            f"order=2 is for first-order samplers without fresh noise (Euler, DDIM); {binding.name} has an order "
            "of its own: use order=1"
        )
    if plan.early_switch is not None and binding.evaluation(1) != 1:
        raise UnsupportedError(
            f"early_switch watches samplers with one evaluation per step; {binding.name} has more: give a fixed head"
        )
    cached = cache_config(getattr(pipe, family.denoiser))
    if plan.early_switch is not None and cached is not None:
        raise UnsupportedError(
            "early_switch watches answers, which a cache repeats: give a fixed head, or disable_cache()"
        )
    if cached is not None and (len(plan.later) > 1 or (plan.later and plan.scale == 1)):
        raise UnsupportedError(
            f"{type(cached).__name__} with a plan of several stages: a cache remembers one run, and each stage is "
            "a run of its own; use a plan of one low-resolution stage, or disable_cache()"
        )
    last = request.steps - 1 if plan.stages else request.steps
    if plan.head > last:
        raise ValueError(f"the plan's head has {plan.head} steps, the run has {request.steps}: choose head <= {last}")
