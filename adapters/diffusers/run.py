"""One ordinary pipeline call with a loop standing at its scheduler, and the pipeline handed back as it was.

A pipeline evaluates its model (guidance included) and hands the result to `scheduler.step`. That is where a `Loop`
stands: it records, substitutes, or asks for another evaluation by returning the state it wants evaluated next.

The gate in front of the denoiser counts and times evaluations, or answers a placeholder without computing.
`torch.nn.Module.__call__` looks for `_compiled_call_impl` on the instance before anything else, so a callable put there
sits above hooks, offloading and `module.compile()`, and one `del` takes it away again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import wraps
from typing import Any

import torch

from ..errors import require_finite
from .caches import Caches
from .families import denoisers
from .lock import guarded, held, owner
from .noise import DrawnNoise

SLOT = "_compiled_call_impl"
_ABSENT = object()
PATCHED = ("encode_prompt", "prepare_latents")
HOOKS = "_all_hooks"  # made anew with those on the modules at the end of every call of an offloaded pipeline
GLOBAL_SEED = 0  # of the global generators inside a borrowed pipeline
Step = Callable[..., Any]


class Placeholder(tuple):
    """Zeros of the input's shape, as the tuple of `return_dict=False` and as an output with `.sample`."""

    __slots__ = ()

    @property
    def sample(self) -> Any:
        return self[0]


def placeholder(hidden: Any) -> Placeholder:
    """For `hidden`, the model's first input: a tensor, or a list with one tensor for each image (Z-Image)."""
    if isinstance(hidden, torch.Tensor):
        return Placeholder((hidden.new_zeros(hidden.shape),))
    return Placeholder(([one.new_zeros(one.shape) for one in hidden],))


def rows(hidden: Any) -> int:
    """How many images (guidance included) a model call evaluates."""
    return int(hidden.shape[0]) if isinstance(hidden, torch.Tensor) else len(hidden)


@dataclass
class Gate:
    """Counts samples evaluated (`rows`: classifier-free guidance counts double) and the seconds they took."""

    rows: int = 0
    seconds: float = 0.0
    skip: bool = False

    @contextmanager
    def on(self, module: Any) -> Iterator[Gate]:
        """Stand before `module` for the length of the block."""
        before = vars(module).get(SLOT, _ABSENT)
        compiled = getattr(module, SLOT, None)
        proceed = compiled if compiled is not None else module._call_impl
        owned = owner(type(module).__name__)

        def gate(*args: Any, **kwargs: Any) -> Any:
            owned()
            hidden = kwargs["hidden_states"] if "hidden_states" in kwargs else args[0]
            if self.skip:
                return placeholder(hidden)
            device = hidden[0].device  # of a tensor, or of a list of them
            _synchronise(device)
            start = time.perf_counter()
            out = proceed(*args, **kwargs)
            _synchronise(device)
            self.seconds += time.perf_counter() - start
            self.rows += rows(hidden)
            return out

        vars(module)[SLOT] = gate
        try:
            yield self
        finally:
            if before is _ABSENT:
                vars(module).pop(SLOT, None)
            else:
                vars(module)[SLOT] = before

    @contextmanager
    def beside(self, module: Any) -> Iterator[None]:
        """Stand before a model whose answers only go to the gated one (a ControlNet): skipped with it, not counted."""
        inner = Gate()
        with inner.on(module):
            proceed = vars(module)[SLOT]
            vars(module)[SLOT] = lambda *args, **kwargs: (None, None) if self.skip else proceed(*args, **kwargs)
            yield


def _synchronise(device: Any) -> None:
    import torch

    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


@contextmanager
def borrowed(pipe: Any, attributes: Mapping[str, Any]) -> Iterator[None]:
    """Restore on exit: the pipeline's private call state and patched methods, the whole scheduler, the global RNG.

    Some schedulers write into their configuration when they are given times (DPM-Solver++ with flow levels).

    `attributes` of the pipeline are set for the length of the block. Public attributes that a user's own callback sets
    on the pipeline stay: they are the user's.
    """
    import torch

    scheduler = pipe.scheduler
    of_pipe, of_scheduler, kind = dict(vars(pipe)), dict(vars(scheduler)), type(scheduler)
    of_config, of_lists = dict(vars(scheduler.config)), {k: list(v) for k, v in of_scheduler.items() if type(v) is list}
    devices = [pipe.device] if pipe.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        _seed(devices)
        try:
            vars(pipe).update(attributes)
            yield
        finally:
            scheduler.__class__ = kind
            vars(scheduler).clear()
            vars(scheduler).update(of_scheduler)
            for key, values in of_lists.items():
                of_scheduler[key][:] = values  # histories are written into in place
            vars(scheduler.config).clear()
            vars(scheduler.config).update(of_config)
            pipe.scheduler = scheduler
            ours = [k for k in vars(pipe) if k.startswith("_") or k in PATCHED or k in attributes]
            for key in ours:
                if key == HOOKS:
                    continue
                if key in of_pipe:
                    vars(pipe)[key] = of_pipe[key]
                else:
                    del vars(pipe)[key]


def _seed(devices: list[Any]) -> None:
    import torch

    # Not torch.manual_seed, which would seed devices that are not put back.
    torch.default_generator.manual_seed(GLOBAL_SEED)
    for device in devices:
        index = torch.cuda.current_device() if device.index is None else device.index
        torch.cuda.default_generators[index].manual_seed(GLOBAL_SEED)


def memoised(encode: Callable[..., Any], memo: dict[Any, Any]) -> Callable[..., Any]:
    """`encode_prompt` that remembers its answers for plain arguments (a preview encodes one prompt many times).

    Calls with tensors, or anything else that cannot be a key, are passed on.
    """

    def encode_prompt(*args: Any, **kwargs: Any) -> Any:
        key = _key((args, tuple(sorted(kwargs.items()))))
        if key is None:
            return encode(*args, **kwargs)
        if key not in memo:
            memo[key] = encode(*args, **kwargs)
        return memo[key]

    return encode_prompt


def _key(value: Any) -> Any:
    """A hashable stand-in for nested plain values; None when there is something else inside."""
    import torch

    if value is None or isinstance(value, (str, int, float, bool, torch.device, torch.dtype)):
        return (type(value).__name__, str(value))
    if isinstance(value, (list, tuple)):
        parts = tuple(_key(v) for v in value)
        return None if any(p is None for p in parts) else (type(value).__name__, parts)
    return None


class Stop(BaseException):
    """Ends a pipeline call that has given what it was made for. BaseException: no `except Exception` may keep it."""


class Loop:
    """What `call.run` needs: a gate, the caches' memories, the schedule, and an answer to every step."""

    unit_noise = False  # whether the noise the pipeline draws is to stay as it is, not scaled to the first noise level

    def __init__(self) -> None:
        self.gate = Gate()
        self.caches = Caches()
        self.advanced = True  # whether the last step call was a step of the solver (callbacks are for those only)

    def scheduled(self, scheduler: Any) -> None:
        """Called after the scheduler has set its times."""

    def step(self, real: Step, output: torch.Tensor, timestep: Any, sample: torch.Tensor) -> torch.Tensor:
        """The next state for the pipeline."""
        raise NotImplementedError


def run(
    pipe: Any,
    denoiser: str,
    call: Mapping[str, Any],
    loop: Loop,
    *,
    memo: dict[Any, Any] | None = None,
    noise: Callable[[tuple[int, ...]], torch.Tensor] | None = None,
    attributes: Mapping[str, Any] | None = None,
) -> tuple[Any, DrawnNoise | None]:
    """Call `pipe(**call)` with `loop` answering its steps; the pipeline is as before afterwards.

    `attributes` are set on the pipeline for the call. What draws from torch's global generator inside it (some
    pipelines encode control images so) always draws the same, so that a finish repeats what its head did.

    Returns (what the pipeline returned, or None where the loop stopped it; the noise draw if `noise` replaced it).
    Whatever the pipeline or a user's callback raises passes through. Other threads wait (see owning.py).

    Raises BusyError for a call from inside another one.
    """
    models = denoisers(pipe, denoiser)
    with held(pipe), guarded(pipe), borrowed(pipe, attributes or {}), loop.caches.on(models[0]), ExitStack() as stack:
        for model in models:
            stack.enter_context(loop.gate.on(model))
        if getattr(pipe, "controlnet", None) is not None:
            stack.enter_context(loop.gate.beside(pipe.controlnet))
        _stand_in(pipe.scheduler, loop)
        if memo is not None:
            vars(pipe)["encode_prompt"] = memoised(pipe.encode_prompt, memo)
        drawn = None if noise is None else DrawnNoise(noise)
        if drawn is not None:
            vars(pipe)["prepare_latents"] = drawn.during(pipe.prepare_latents)
        try:
            return pipe(**call), drawn
        except Stop:
            pipe.maybe_free_model_hooks()  # what the end of the call would have done for an offloaded pipeline
            return None, drawn


def _stand_in(scheduler: Any, loop: Loop) -> None:
    """Patch the instance only; `borrowed` takes it back."""
    set_timesteps, step, owned = scheduler.set_timesteps, scheduler.step, owner(type(scheduler).__name__)
    answers = 0
    if loop.unit_noise:
        # A property of the class in schedulers whose first state is scaled: only a class can stand in for it.
        scheduler.__class__ = type(type(scheduler).__name__, (type(scheduler),), {"init_noise_sigma": 1.0})

    @wraps(set_timesteps)  # pipelines inspect its signature
    def patched_set_timesteps(*args: Any, **kwargs: Any) -> None:
        owned()
        set_timesteps(*args, **kwargs)
        loop.scheduled(scheduler)

    @wraps(step)
    def patched_step(model_output: Any, timestep: Any, sample: Any, *args: Any, **kwargs: Any) -> Any:
        nonlocal answers
        owned()
        answers += 1
        if not loop.gate.skip:  # the guided answer, evaluated just now
            require_finite(model_output, f"evaluation {answers} of this run (timestep {float(timestep):g})")
        return_dict = kwargs.pop("return_dict", True)

        def real(output: Any, t: Any, state: Any) -> Any:
            return step(output, t, state, *args, return_dict=False, **kwargs)[0]

        # A copy, because some pipelines write the next state into the tensor of this one, and loops keep states.
        previous = loop.step(real, model_output, timestep, sample.clone())
        if not return_dict:
            return (previous,)
        from diffusers.schedulers.scheduling_utils import SchedulerOutput

        return SchedulerOutput(prev_sample=previous)

    vars(scheduler)["set_timesteps"] = patched_set_timesteps
    vars(scheduler)["step"] = patched_step
