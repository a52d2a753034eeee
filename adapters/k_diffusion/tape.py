"""Tapes of k-diffusion runs: what their header says, and whether one belongs to the run it is to finish."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from ...commutator import PATHS, Path, Plan, Tape, TapeError
from .calling import Call
from .randomness import State

if TYPE_CHECKING:
    from .recording import Recording

KIND = "k-diffusion"
DTYPES = {str(d).removeprefix("torch."): d for d in (torch.float64, torch.float32, torch.float16, torch.bfloat16)}
DEVICES = ("cpu", "cuda", "mps", "xpu")
# "switch" is the model call, not the step, at which the tape's state was recorded; "layouts" are strides: how
# `randn_like` fills a latent depends on them.
HEADER = {
    "kind": str,
    "path": str,
    "sampler": str,
    "options": str,
    "noise_sampler": bool,
    "sigmas": str,
    "sigmas_device": str,
    "device": str,
    "switch": int,
    "rng": list,
    "drew": list,
    "dtypes": list,
    "layouts": list,
}


def tape_of(call: Call, recording: Recording, path: Path, plan: Plan | None = None) -> Tape:
    """The recorded head as a tape, on the CPU.

    Samplers with wider sigmas promote their latents on the way: all answers are stored in the widest dtype, which loses
    nothing, and read back in their own. The random states stored are that of the beginning and those after answers for
    which the model itself drew random numbers.

    A plan with a schedule of its own leaves nothing that the final can use: a tape of the noise and the final's sigmas.
    """
    assert recording.switch is not None
    if plan is not None and plan.own_schedule:
        recording = replace(
            recording, states=[], outputs=[], drew=[], switch=replace(recording.switch, state=recording.noise)
        )
    outputs = [output.cpu() for output in recording.outputs]
    if outputs:
        widest = functools.reduce(torch.promote_types, (o.dtype for o in outputs))
    assert recording.switch is not None
    states = [recording.began, *(recording.after[i] for i in recording.drew)]
    header = {
        "kind": KIND,
        "path": path.name,
        "sampler": call.name,
        "options": options_hash(call),
        "noise_sampler": call.options.get("noise_sampler") is not None,
        "sigmas": _dtype(call.sigmas),
        "sigmas_device": str(call.sigmas.device),
        "device": str(recording.noise.device),
        "switch": len(recording.states),
        "rng": [part.numel() for part in recording.began],
        "dtypes": [_dtype(output) for output in outputs],
        "layouts": [list(tensor.stride()) for tensor in (recording.noise, *outputs)],
        "drew": list(recording.drew),
        "plan": None if plan is None else plan.to_dict(),
    }
    return Tape(
        tuple(output.to(widest) for output in outputs),
        recording.noise.cpu(),
        recording.switch.state.cpu(),
        tuple(call.sigmas.tolist()),
        header,
        torch.cat([part.cpu() for one in states for part in one]),
    )


def check_header(tape: Tape) -> None:
    """TapeError unless this is a k-diffusion tape with a header of the right types."""
    header = tape.header
    for key, kind in HEADER.items():
        if type(header.get(key)) is not kind:
            raise TapeError(f"the tape's header has no valid {key!r}; is it a k-diffusion tape?")
    if header["kind"] != KIND or header["path"] not in PATHS:
        raise TapeError(f"the tape is of kind {header['kind']!r} on the path {header['path']!r}, not of {KIND}")
    if type(header.get("coarse", False)) is not bool:
        raise TapeError("the tape's header has no valid 'coarse'")
    if header["sigmas"] not in DTYPES:
        raise TapeError(f"the tape's sigmas are of dtype {header['sigmas']!r:.40}, which is none of {sorted(DTYPES)}")


def check_tape(tape: Tape, call: Call) -> None:
    """TapeError unless the tape is whole and of this sampler, these options and, where it must be, this schedule."""
    header, coarse = tape.header, is_coarse(tape)
    if header["sampler"] != call.name:
        raise TapeError(f"the tape was recorded with {header['sampler']!r}, not with {call.name}")
    if header["noise_sampler"] != (call.options.get("noise_sampler") is not None):
        given = (
            "with a noise_sampler: give one made the same way" if header["noise_sampler"] else "without noise_sampler"
        )
        raise TapeError(f"the tape was recorded {given}")
    if header["options"] != options_hash(call):
        raise TapeError(f"the tape was recorded with other options of {call.name} or other extra_args")
    if tape.recorded not in ((0,) if coarse else (header["switch"], header["switch"] + 1)):
        raise TapeError(f"the tape holds {tape.recorded} answers for a switch at call {header['switch']}")
    if len(header["dtypes"]) != tape.recorded or not all(str(d) in DTYPES for d in header["dtypes"]):
        raise TapeError("the tape's header has no valid 'dtypes'")
    shape = tuple(tape.noise.shape)
    if len(header["layouts"]) != 1 + tape.recorded or not all(_dense(shape, s) for s in header["layouts"]):
        raise TapeError("the tape's header has no valid 'layouts'")
    if not coarse and _dtype(call.sigmas) != header["sigmas"]:
        raise TapeError(f"the tape was recorded with {header['sigmas']} sigmas, not {_dtype(call.sigmas)}")
    if not coarse and tuple(call.sigmas.tolist()) != tape.times:
        raise TapeError("the tape was recorded on other sigmas")
    if coarse and abs(float(call.sigmas[0]) - tape.times[0]) > 1e-3 * tape.times[0]:
        raise TapeError(f"the tape's latent begins at sigma {tape.times[0]}, the schedule at {float(call.sigmas[0])}")
    random_states(tape)


def is_coarse(tape: Tape) -> bool:
    """Whether the tape is one of version 0.1 whose head ran on a coarse schedule: it holds the noise and no answers."""
    return bool(tape.header.get("coarse", False))


def recorded_sigmas(tape: Tape) -> torch.Tensor:
    """The final's schedule as it was given. ValueError for a coarse head of version 0.1."""
    if is_coarse(tape):
        raise ValueError("the tape's head ran on a coarse schedule of its own: give the final's sigmas")
    return torch.tensor(tape.times, dtype=DTYPES[tape.header["sigmas"]], device=device_of(tape, "sigmas_device"))


def device_of(tape: Tape, key: str = "device") -> torch.device:
    """The device the header names. TapeError where it names none, or one that is not here."""
    name = str(tape.header.get(key))
    kind, _, index = name.partition(":")
    if kind not in DEVICES or not (index == "" or (index.isdigit() and len(index) < 4)):
        raise TapeError(f"the tape's header names {name!r:.40}, which is no device")
    if kind != "cpu" and not _is_here(kind):
        raise TapeError(f"the tape was recorded on {name}, which is not here")
    return torch.device(name)


def _is_here(kind: str) -> bool:
    """Not by torch.accelerator: web UIs pin releases of torch that are older than it."""
    module = torch.backends.mps if kind == "mps" else getattr(torch, kind, None)
    return module is not None and bool(module.is_available())


def image_of(tape: Tape, index: int) -> Tape:
    """The tape of one image of a batch that was recorded together. IndexError where the batch has no such image.

    A finish from it is the batch's image up to the rounding of batched kernels; the generators' state on it is the
    batch's, which matters to samplers that draw from torch's global generators only.
    """
    batch = int(tape.noise.shape[0])
    if not 0 <= index < batch:
        raise IndexError(f"the tape holds {batch} images, there is no image {index}")

    def one(array: Any) -> torch.Tensor:
        return torch.as_tensor(array)[index : index + 1].clone()

    return replace(tape, outputs=tuple(map(one, tape.outputs)), noise=one(tape.noise), state=one(tape.state))


def latent_of(tape: Tape) -> torch.Tensor:
    """The latent that the run begins with, as it was laid out: memory of its own."""
    return _laid_out(tape.noise, tape.header["layouts"][0], None, device_of(tape))


def answer_of(tape: Tape, i: int) -> torch.Tensor:
    """The model's `i`-th answer, in the dtype and layout it came in: memory of its own."""
    header = tape.header
    return _laid_out(tape.outputs[i], header["layouts"][i + 1], DTYPES[header["dtypes"][i]], device_of(tape))


def random_states(tape: Tape) -> tuple[State, dict[int, State]]:
    """The generators' state at the beginning, and after each answer for which the model drew random numbers."""
    header = tape.header
    sizes, drew = header["rng"], header["drew"]
    if not (sizes and all(type(n) is int and n > 0 for n in sizes)):
        raise TapeError("the tape's header has no valid 'rng'")
    if not all(type(i) is int and 0 <= i < tape.recorded for i in drew) or len(set(drew)) != len(drew):
        raise TapeError("the tape's header has no valid 'drew'")
    if tape.rng is None or tape.rng.shape[0] != sum(sizes) * (1 + len(drew)):
        raise TapeError("the tape's generator states are missing or cut")
    parts = torch.as_tensor(tape.rng).split(list(sizes) * (1 + len(drew)))
    states = [tuple(p.clone() for p in parts[i : i + len(sizes)]) for i in range(0, len(parts), len(sizes))]
    return states[0], dict(zip(drew, states[1:], strict=True))


def options_hash(call: Call) -> str:
    """SHA-256 over the options and extra_args: plain values and tensors by content, anything else by its type."""
    digest = hashlib.sha256()
    options = {k: v for k, v in call.options.items() if k != "noise_sampler"}
    partial = getattr(call.sampler, "keywords", None) or {}
    _describe(digest, {"options": options, "partial": dict(partial), "extra_args": dict(call.extra_args)}, 0)
    return digest.hexdigest()


def _describe(digest: Any, value: Any, depth: int) -> None:
    if isinstance(value, torch.Tensor):
        flat = value.detach().cpu().contiguous().reshape(-1)
        digest.update(f"tensor {tuple(value.shape)} {value.dtype};".encode())
        digest.update(flat.view(torch.uint8).numpy().tobytes() if flat.numel() else b"")
    elif isinstance(value, Mapping) and depth < 8:
        digest.update(f"map {len(value)};".encode())
        for key in sorted(value, key=repr):
            digest.update(f"{key!r}:".encode())
            _describe(digest, value[key], depth + 1)
    elif isinstance(value, Sequence) and not isinstance(value, (str, bytes)) and depth < 8:
        digest.update(f"list {len(value)};".encode())
        for item in value:
            _describe(digest, item, depth + 1)
    elif value is None or isinstance(value, (bool, int, float, str, bytes)):
        digest.update(f"{value!r};".encode())
    else:
        digest.update(f"{type(value).__name__};".encode())


def _laid_out(array: Any, strides: list[int], dtype: torch.dtype | None, device: torch.device) -> torch.Tensor:
    tensor = torch.as_tensor(array)
    return torch.empty_strided(tensor.shape, strides, dtype=dtype or tensor.dtype, device=device).copy_(tensor)


def _dense(shape: tuple[int, ...], strides: Any) -> bool:
    """Whether `strides` lay an array of `shape` out without gaps, in some order of its dims."""
    if type(strides) is not list or len(strides) != len(shape):
        return False
    if not all(type(s) is int and 0 <= s < 2**62 for s in strides):
        return False
    expected = 1
    for stride, length in sorted((s, n) for s, n in zip(strides, shape, strict=True) if n > 1):
        if stride != expected:
            return False
        expected *= length
    return True


def _dtype(tensor: torch.Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")
