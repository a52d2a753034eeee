"""Finals from tapes: checking that a tape belongs to the run it is to continue, and continuing it."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from ...commutator import Tape, TapeError
from ..sheet import Cost, Final, Preview
from .cache_support import described
from .call import run
from .loops import FinishLoop
from .request import restored_all

HEADER = {"model": str, "prompt": str, "size": list, "steps": int, "evaluations": int, "switch": int, "rng_device": str}
MOST = 1_000_000  # of steps and evaluations in a tape, which may come from elsewhere
DEVICES = ("cpu", "cuda", "mps", "xpu")


def check_tape(preview: Preview, model: str, denoiser: Any) -> None:
    """TapeError unless the tape is whole and of this model (its fingerprint), cache, prompt, settings and size."""
    tape, header = preview.tape, preview.tape.header
    for key, kind in HEADER.items():
        if type(header.get(key)) is not kind:
            raise TapeError(f"the tape's header has no valid {key!r}")
    if not all(least <= header[key] <= MOST for key, least in {"steps": 1, "evaluations": 1, "switch": 0}.items()):
        raise TapeError("the tape's header has numbers of steps and evaluations that no run has")
    if [type(n) for n in header["size"]] != [int, int]:
        raise TapeError("the tape's header has no valid 'size'")
    if header["rng_device"] not in DEVICES:
        raise TapeError(f"the tape's generator lived on {header['rng_device']!r}, which is no kind of device")
    # A coarse head leaves no outputs; any other leaves one per step before the switch, and maybe the switch's own.
    if tape.recorded not in (0, header["switch"], header["switch"] + 1) or tape.recorded > header["evaluations"]:
        raise TapeError(f"the tape holds {tape.recorded} outputs for a switch at step {header['switch']}")
    if header["model"] != model:
        raise TapeError(
            "the tape was recorded with another model (weights, configuration, dtype or kind of device differ); "
            "load the model that made the sheet"
        )
    cache = described(denoiser)
    if header.get("cache") != cache:
        raise TapeError(
            f"the tape was recorded with {_cache(header.get('cache'))}, the transformer has {_cache(cache)}; set it as "
            "it was, with enable_cache() and disable_cache()"
        )
    if header["prompt"] != prompt_hash(preview.call):
        raise TapeError("the tape belongs to another prompt or to other settings than the preview says")
    if header["size"] != [preview.call.get("height"), preview.call.get("width")]:
        raise TapeError("the tape was recorded at another size than the preview says")
    if tape.rng is None:
        raise TapeError("the tape holds no generator state: it cannot be finished")


def finish_batch(pipe: Any, denoiser: str, previews: Sequence[Preview], output_type: str | None) -> list[Final]:
    """The finals of some previews in one plain call, the recorded evaluations skipped.

    Raises ValueError for previews that cannot share a call; TapeError as `FinishLoop` does.
    """
    began = time.perf_counter()
    tapes = [p.tape for p in previews]
    first, count = tapes[0], len(tapes)
    loop = FinishLoop(*tapes_as_batch(tapes), **remembered(previews))
    call = merged([p.call for p in previews])
    call["generator"] = generators_of(tapes)
    if output_type is not None:
        call["output_type"] = output_type
    out, _ = run(pipe, denoiser, call, loop)
    evaluations = first.header["evaluations"]
    cost = Cost(
        high=round(loop.gate.rows / count),
        low=0,
        full=round(loop.gate.rows / count * evaluations / max(1, evaluations - loop.answered)),
        high_seconds=loop.gate.seconds / count,
        seconds=(time.perf_counter() - began) / count,
    )
    return [Final(image, cost) for image in out[0]]


def remembered(previews: Sequence[Preview]) -> dict[str, Any]:
    """What a `FinishLoop` needs to know of the transformer's cache. One preview only where there is one."""
    tape = previews[0].tape
    if tape.header.get("cache") is None:
        return {}
    return {"cache": previews[0].cache, "afresh": previews[0].cache is None}


def prompt_hash(call: Mapping[str, Any]) -> str:
    """SHA-256 over everything a plain call gets that decides its image, size and generator aside.

    Tensors and functions count by type only: they do not outlive the process whose tape this is.
    """
    other = ("height", "width", "generator", "output_type")
    plain = {k: v for k, v in call.items() if k not in other and not k.startswith("callback_on_step_end")}
    return hashlib.sha256(json.dumps(plain, sort_keys=True, default=lambda v: type(v).__name__).encode()).hexdigest()


def generators_of(tapes: Sequence[Tape]) -> Any:
    """Fresh generators in the states that the tapes recorded, all on one kind of device."""
    return restored_all([t.rng for t in tapes if t.rng is not None], tapes[0].header["rng_device"])


def tapes_as_batch(tapes: Sequence[Tape]) -> tuple[list[torch.Tensor], torch.Tensor, torch.Tensor, int]:
    """(outputs, noise, state at the switch, switch) of tapes of one size and length; ValueError for others."""
    first = tapes[0]
    if any(t.recorded != first.recorded or t.header["size"] != first.header["size"] for t in tapes):
        raise ValueError("previews finished in one batch need tapes of one size and length; use batch_size=1")
    outputs = [torch.cat([t.outputs[i] for t in tapes]) for i in range(first.recorded)]
    noise, state = torch.cat([t.noise for t in tapes]), torch.cat([t.state for t in tapes])
    return outputs, noise, state, first.header["switch"]


def _cache(description: Any) -> str:
    return "no cache" if description is None else f"the cache {description}"


def merged(calls: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """One batched call from single ones that differ in nothing but the prompt."""
    out = dict(calls[0])
    if len(calls) == 1:
        return out
    for key in out:
        values = [c.get(key) for c in calls]
        if isinstance(out[key], str) and key.startswith(("prompt", "negative_prompt")):
            out[key] = values
        elif isinstance(out[key], torch.Tensor):
            out[key] = torch.cat([c[key] for c in calls])
        elif any(v is not values[0] and v != values[0] for v in values):
            raise ValueError(f"previews finished in one batch differ in {key!r}; use batch_size=1")
    return out
