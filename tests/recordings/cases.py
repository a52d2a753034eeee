"""What is recorded. Every case yields named arrays; each is made alone, from seeds of its own."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from ..diffusers import scheduler_cases, tiny_registry
from ..diffusers.test_caches import CACHES
from ..diffusers.tiny import tiny_flux, tiny_sd3
from ..diffusers.tiny_unet import tiny_sd, tiny_sdxl
from . import today

Arrays = Iterator[tuple[str, np.ndarray]]
PROMPT = "a fox and a balloon"
SIZE = {"height": 64, "width": 96, "num_inference_steps": 8}
FLUX = {**SIZE, "max_sequence_length": 16, "true_cfg_scale": 3.0, "negative_prompt": "not"}
EMBEDDED = (
    "matched",
    "paper",
    "naive",
    "direct",
    "shown",
    "fewer",
    "fewer, order 2",
    "order 2",
    "settle",
    "own schedule",
    "stages",
)
REFUSED = ("HunyuanImagePipeline, APG",)  # its guider counts its calls


def cases() -> dict[str, Callable[[], Arrays]]:
    """Every case by name."""
    out: dict[str, Callable[[], Arrays]] = {"embedded": _embedded, "embedded, pictures": _pictures}
    for name, variant in tiny_registry.VARIANTS.items():
        if name not in REFUSED:
            out[f"pipelines/{name}"] = functools.partial(_variant, variant)
    for case in scheduler_cases.CASES:
        out[f"schedulers/{case}"] = functools.partial(_scheduler, tiny_sd, case, {})
    for case in scheduler_cases.FLOWS:
        out[f"schedulers/{case}"] = functools.partial(_scheduler, tiny_sd3, case, {"max_sequence_length": 16})
    out |= {f"caches/{name}": functools.partial(_cache, make) for name, make in CACHES.items()}
    out |= {"plans/flux": _flux_plans, "plans/sdxl": _sdxl_plans, "batches": _batches}
    for name in today.samplers():
        if name != "sample_dpm_adaptive":  # refused: it chooses its own steps
            out[f"samplers/{name}"] = functools.partial(_sampler, name)
    out |= {f"reference/{name}": functools.partial(_reference, name) for name in today.PATHS}
    return out | {"operators": _operators}


def made() -> dict[str, np.ndarray]:
    """All results by name. Torch's global generator is seeded before each case, and its state is put back."""
    out: dict[str, np.ndarray] = {}
    with torch.random.fork_rng(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, case in cases().items():
            torch.manual_seed(1234)
            for part, array in case():
                assert f"{name}/{part}" not in out, f"{name}/{part} is made twice"
                out[f"{name}/{part}"] = array.copy()
    return out


def worth_a_place(name: str) -> bool:
    """Whether the committed recording holds a result: not where another one says as much, or a machine decides.

    A random selection is drawn from the bits of the noise, and the noise of other machines differs in the last ones.
    """
    first, plan = name.split("/")[0], name.split("/")[2:3]
    said_elsewhere = first in ("operators", "embedded, pictures") or "/tape/" in name or plan == ["mean"]
    return not said_elsewhere and plan != ["random selection"]


def _under(name: str, arrays: dict[str, Any]) -> Arrays:
    for part, array in arrays.items():
        yield f"{name}/{part}", np.asarray(array)


def _whole(pipe: Any, prompt: Any, plan: Any, name: str, *, finished: bool = True, **call: Any) -> Arrays:
    """A preview, its tape and its finish."""
    (item,) = today.previews(pipe, prompt, [3], plan, **call)
    yield from _under(f"{name}/preview", today.result(item))
    yield from _under(f"{name}/tape", today.taped(today.tape_of(item)))
    if finished:
        yield from _under(f"{name}/final", today.result(today.finals(pipe, [item])[0]))


def _moved(pipe: Any, prompt: Any, plan: Any, moves: Sequence[str], **call: Any) -> Arrays:
    (item,) = today.previews(pipe, prompt, [3], plan, **call)
    for name in moves:
        (moved,) = today.moves(pipe, [item], today.PIXEL_MOVES[name], seed=5)
        yield from _under(f"move/{name}", today.result(moved))
    (moved,) = today.moves(pipe, [item], today.PIXEL_MOVES["translate"], at=6, guidance=None)
    yield from _under("move/late", today.result(moved))


def _embedded() -> Arrays:
    pipe, call = today.embedded()
    plans = today.plans(call["num_inference_steps"])
    for name in EMBEDDED:
        yield from _whole(pipe, PROMPT, plans[name], name, **call)
    yield from _moved(pipe, PROMPT, "matched", ("translate", "rotate"), **call)


def _pictures() -> Arrays:
    """As a user gets them, and the same images by another plan."""
    pipe, call = today.embedded()
    plans = today.plans(call["num_inference_steps"])
    items = today.previews(pipe, PROMPT, [3, 4], plans["matched"], output=None, **call)
    finals = today.finals(pipe, items, output=None)
    again = today.remade(pipe, items, plans["mean"])
    for kind, results in (("preview", items), ("final", finals), ("again", again)):
        for i, result in enumerate(results):
            yield from _under(f"{kind} {i}", today.result(result))


def _variant(variant: Any) -> Arrays:
    pipe, call = variant.build(), variant.arguments()
    pipe.set_progress_bar_config(disable=True)
    yield from _whole(pipe, call.pop("prompt", None), "matched", "matched", **call)


def _scheduler(build: Callable[[], Any], case: Any, more: dict[str, Any]) -> Arrays:
    pipe = build()
    pipe.scheduler = case.make()
    call = {**SIZE, "guidance_scale": 3.0, **more, **case.call}
    for name in ("matched", "mean"):
        yield from _whole(pipe, PROMPT, today.plans(8)[name], name, **call)
    if not today.draws(pipe, call):
        yield from _moved(pipe, PROMPT, "matched", ("translate",), **call)


def _flux_plans() -> Arrays:
    pipe = tiny_flux()
    for name, plan in today.plans(8).items():
        yield from _whole(pipe, PROMPT, plan, name, **FLUX)
    yield from _whole(pipe, PROMPT, today.in_between(), "scale 4/3", **{**FLUX, "width": 128})
    yield from _moved(pipe, PROMPT, "paper", tuple(today.PIXEL_MOVES), **FLUX)


def _sdxl_plans() -> Arrays:
    pipe, call = tiny_sdxl(), {**SIZE, "guidance_scale": 3.0}
    for name, plan in today.plans(8).items():
        yield from _whole(pipe, PROMPT, plan, name, **call)


def _batches() -> Arrays:
    """Heads and finishes in batches."""
    pipe = tiny_flux()
    items = today.previews(pipe, PROMPT, [3, 4, 5], "matched", heads=2, **FLUX)
    for i, item in enumerate([*items, *today.finals(pipe, items[:2], batch=2)]):
        yield from _under(str(i), today.result(item))


def _cache(make: Callable[[Any], Any]) -> Arrays:
    pipe = tiny_flux()
    pipe.transformer.enable_cache(make(pipe))
    call = {**FLUX, "num_inference_steps": 10}
    plans = today.plans(10)
    for name in ("matched", "fewer"):
        yield from _whole(pipe, PROMPT, plans[name], name, **call)


def wavy(x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
    """A smooth denoiser that mixes neighbours."""
    s = sigma.reshape(-1, *[1] * (x.ndim - 1))
    near = torch.roll(x, 1, dims=-1) + torch.roll(x, 1, dims=-2)
    return (0.7 * torch.tanh(x / (1 + s)) + 0.2 * torch.sin(near) + 0.1).to(x.dtype)


def levels(path: str, steps: int = 7) -> torch.Tensor:
    if path == "flow":
        return torch.linspace(1, 0, steps + 1, dtype=torch.float64) ** 0.8
    return torch.cat([torch.linspace(10**0.25, 0.05**0.25, steps, dtype=torch.float64) ** 4, torch.zeros(1)])


def start(path: str = "exploding") -> torch.Tensor:
    """Pure noise at the first level."""
    generator = torch.Generator().manual_seed(1)
    return torch.randn((2, 3, 8, 8), generator=generator, dtype=torch.float64) * levels(path)[0]


def _sampler(name: str) -> Arrays:
    sampler = today.samplers()[name]
    stochastic = "ancestral" in name or "sde" in name
    noise, x, sigmas = start("flow"), start("exploding"), levels("exploding")
    switch = 1 if name == "sample_dpm_fast" else 3
    for kind, plan in today.loop_plans(switch).items():
        torch.manual_seed(1234)
        arrays, tape = today.loop_preview(sampler, wavy, x, sigmas, plan, "exploding")
        yield from _under(kind, arrays)
        yield from _under(f"{kind}/tape", today.taped(tape))
        yield f"{kind}/final", today.loop_finish(sampler, wavy, tape)
        if not stochastic:  # with fresh noise an image's finish needs its own
            yield f"{kind}/final of one", today.loop_finish(sampler, wavy, today.one_of_batch(tape, 0))
        torch.manual_seed(1234)
        yield from _under(f"{kind}/two calls", today.loop_in_two_calls(sampler, wavy, x, sigmas, plan))
    if not stochastic and name != "sample_dpm_fast":  # its times follow no noise levels: refused
        for kind, operator in today.CELL_MOVES.items():
            yield f"move/{kind}", today.loop_move(sampler, wavy, x, sigmas, operator, "exploding", switch)
    if name == "sample_euler":
        arrays, tape = today.loop_preview(sampler, wavy, noise, levels("flow"), today.loop_plans(3)["mean"], "flow")
        yield from _under("flow", arrays)
        yield "flow/final", today.loop_finish(sampler, wavy, tape)
        roll = today.CELL_MOVES["roll"]
        yield "flow/move", today.loop_move(sampler, wavy, noise, levels("flow"), roll, "flow", switch)


class _Wavy:
    """The same denoiser in numpy."""

    def denoised(self, x: np.ndarray, t: float) -> np.ndarray:
        near = np.roll(x, 1, axis=-1) + np.roll(x, 1, axis=-2)
        return 0.7 * np.tanh(x / (1 + t)) + 0.2 * np.sin(near) + 0.1


def _reference(path: str) -> Arrays:
    top = {"flow": 1.0, "exploding": 10.0, "preserving": 0.99}[path]
    times = [top * (1 - i / 8) for i in range(9)]
    noise = np.random.default_rng(1).standard_normal((2, 3, 12, 12))
    if path == "exploding":
        noise = noise * top
    yield from today.reference(path, _Wavy(), noise, times)
    yield from _under("report", today.reported(path, _Wavy(), [noise, 0.5 * noise], times[:2]))


def _operators() -> Arrays:
    yield from today.applied(np.random.default_rng(2).standard_normal((2, 3, 12, 12))).items()


@contextmanager
def one_thread() -> Iterator[None]:
    """Sums are split by thread: with another number of them the last bits differ."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
