"""What a transformer's cache remembers, kept apart for every part of a preview.

A cache answers an evaluation from what earlier evaluations of the same run left in its hooks. A preview evaluates other
things in between: candidates, corrections, another resolution. Each of these is a *phase* with a memory of its own;
changing phases parks one memory and brings back another. Outside a call the hooks hold what the user left in them.

Which caches are followed (`pipe.transformer.enable_cache(config)`), and how a tape names one, stands here too.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields, is_dataclass
from fractions import Fraction
from typing import Any

import torch

from ...commutator import Guidance
from ..errors import UnsupportedError

SUPPORTED = (
    "FirstBlockCacheConfig",
    "MagCacheConfig",
    "PyramidAttentionBroadcastConfig",
    "TaylorSeerCacheConfig",
)
REFUSED = {
    "FasterCacheConfig": "it halves the transformer's batch and puts an estimate of its own in place of the unguided "
    "pass, counted over one uninterrupted run",
    "SeaCacheConfig": "it needs the step's number and sigma from the pipeline, which a preview's shorter tail changes",
}
Phase = tuple[str | None, Fraction]  # which memory, and the share of the run behind the evaluation
ALONE = None  # the phase of one evaluation by itself: nothing is remembered before it, nothing after it
Memory = list[Any]  # one entry for each slot


def check_cache(module: Any, name: str) -> None:
    """UnsupportedError unless the cache on a denoiser, if there is one, is among `SUPPORTED`."""
    config = cache_config(module)
    if config is None:
        stray = sorted({type(hook).__name__ for hook in stateful_hooks(module)})
        if stray:
            raise UnsupportedError(
                f"{', '.join(stray)} on the {name} was not put there by enable_cache(), so diffusers does not clear it "
                "between runs; remove the hooks"
                + (
                    " and call enable_cache()"
                    if hasattr(module, "enable_cache")
                    else f" ({type(module).__name__} has no CacheMixin and takes no cache)"
                )
            )
        return
    kind = type(config).__name__
    way = f"call pipe.{name}.disable_cache(), or enable one of {', '.join(SUPPORTED)}"
    if kind not in SUPPORTED:
        why = f": {REFUSED[kind]}" if kind in REFUSED else ""
        raise UnsupportedError(f"previews do not follow the cache {kind}{why}; {way}")
    if getattr(config, "calibrate", False):
        raise UnsupportedError(f"{kind} with calibrate=True measures one plain run; run it plainly, or {way}")


def cache_config(module: Any) -> Any:
    """The configuration of the cache enabled on a denoiser, or None."""
    return getattr(module, "_cache_config", None)


def described(module: Any) -> str | None:
    """The enabled cache and its settings as text for a tape's header; None without a cache.

    Functions count by type only: they do not outlive the process whose tape this is.
    """
    config = cache_config(module)
    if config is None:
        return None
    settings = {f.name: getattr(config, f.name) for f in fields(config)} if is_dataclass(config) else {}
    return f"{type(config).__name__} {json.dumps(settings, sort_keys=True, default=_plain)}"


def stateful_hooks(module: Any) -> Iterator[Any]:
    """diffusers' hooks with a memory, on a module and everything in it."""
    for part in module.modules():
        registry = getattr(part, "_diffusers_hook", None)
        for hook in () if registry is None else registry.hooks.values():
            if hook._is_stateful:
                yield hook


def _plain(value: Any) -> Any:
    if hasattr(value, "tolist"):
        return value.tolist()
    return type(value).__name__ if callable(value) else str(value)


@dataclass(frozen=True)
class Slot:
    """Where a hook holds its memory: `vars(holder)[key]`; `cold()` makes the memory of a run that has not begun."""

    holder: Any
    key: str
    cold: Callable[[], Any]


class Caches:
    """The memories of a denoiser's cache hooks during one pipeline call. Without a cache every method does nothing."""

    def __init__(self) -> None:
        self._slots: list[Slot] = []
        self._config: Any = None
        self._phase: str | None = ""
        self._parked: dict[str | None, Memory] = {}

    @contextmanager
    def on(self, module: Any) -> Iterator[None]:
        """Begin cold, whatever the hooks of `module` hold, and give that back at the end of the block."""
        self._slots, self._config = _slots(module), cache_config(module)
        before = [dict(vars(slot.holder)) for slot in self._slots]
        self._put(self._cold())
        try:
            yield
        finally:
            for slot, kept in zip(self._slots, before):
                vars(slot.holder).clear()
                vars(slot.holder).update(kept)
            self._slots, self._parked = [], {}

    def enter(self, phase: str | None, progress: Fraction | None = None) -> None:
        """Park the current phase's memory and continue with the memory of `phase`: its own, or a cold one.

        `progress` is the share of the run that lies behind the next evaluation, for caches that look their step up in a
        table (MagCache): a tail begins in the middle of that table. A cold memory has no count yet; its first
        evaluation is computed wherever it stands.
        """
        if phase is ALONE or phase != self._phase:
            if self._phase is not ALONE:
                self._parked[self._phase] = self.taken()
            memory = None if phase is ALONE else self._parked.pop(phase, None)
            self._put(self._cold() if memory is None else memory)
            self._phase = phase
        if progress is not None and type(self._config).__name__ == "MagCacheConfig":
            for slot in self._slots:
                for state in vars(slot.holder)[slot.key].values():
                    state.step_index = int(progress * self._config.num_inference_steps)

    def taken(self) -> Memory:
        """The current memory; the hooks are cold afterwards."""
        memory = [vars(slot.holder)[slot.key] for slot in self._slots]
        self._put(self._cold())
        return memory

    def resume(self, kept: Kept) -> None:
        """Continue from a kept memory, which stays as it is and may be resumed again."""
        if len(kept.memory) != len(self._slots):
            raise ValueError("the kept memory is of another cache")
        self._put(kept.restored())

    def _cold(self) -> Memory:
        return [slot.cold() for slot in self._slots]

    def _put(self, memory: Memory) -> None:
        for slot, held in zip(self._slots, memory):
            vars(slot.holder)[slot.key] = held


@dataclass(frozen=True)
class Kept:
    """A memory kept beyond its call, on the host. It is never written to a file: it can be larger than the model."""

    memory: Memory

    @classmethod
    def of(cls, memory: Memory) -> Kept:
        """Takes the memory over: nobody may go on using it."""
        return cls(_mapped(memory, torch.Tensor, _Parked.of))

    def restored(self) -> Memory:
        """A copy on the devices it came from. Hooks change what they hold in place, so every run gets its own."""
        return _mapped(self.memory, _Parked, _Parked.back)


@dataclass(frozen=True)
class _Parked:
    tensor: torch.Tensor
    device: torch.device

    @classmethod
    def of(cls, tensor: torch.Tensor) -> _Parked:
        host = tensor.detach().to("cpu")
        # A view would keep all of the tensor that it was cut from.
        whole = host.untyped_storage().nbytes() <= host.nbytes
        return cls(host if whole else host.clone(), tensor.device)

    def back(self) -> torch.Tensor:
        return self.tensor.to(self.device, copy=True)


def size(memory: Memory) -> int:
    """Bytes of all tensors in a memory."""
    sizes: list[int] = []
    _mapped(memory, torch.Tensor, lambda t: sizes.append(t.nbytes))
    return sum(sizes)


def phases(count: int, candidates: int, guidance: Guidance | None, behind: Fraction, per_step: int = 1) -> list[Phase]:
    """The phase of each evaluation of a tail on which the solver makes `count`, and the share of the run behind it.

    `behind` is that share at the switch. More than one candidate stand in the place of the first evaluation. An exact
    correction evaluates twice: first to ask how far to correct, then what the solver steps on.
    """
    corrections = guidance.steps * per_step if guidance is not None and guidance.kind == "exact" else 0
    rest: list[Phase] = []
    for i in range(count):
        progress = behind + (1 - behind) * Fraction(i, count)
        rest += [(name, progress) for name in (("correction", "tail") if i < corrections else ("tail",))]
    return rest if candidates == 1 else [(ALONE, behind)] * candidates + rest[1:]


def _slots(module: Any) -> list[Slot]:
    found: dict[int, Slot] = {}
    for hook in stateful_hooks(module):
        slots = [slot for slot in map(_slot, (hook, *vars(hook).values())) if slot is not None]
        if not slots:
            raise UnsupportedError(
                f"{type(hook).__name__} of this version of diffusers keeps its state where previews do not look; "
                "call disable_cache()"
            )
        found |= {id(slot.holder): slot for slot in slots}  # the hooks of one cache may share their memory
    return list(found.values())


def _slot(holder: Any) -> Slot | None:
    from diffusers.hooks.hooks import StateManager

    if isinstance(holder, StateManager) and "_state_cache" in vars(holder):
        return Slot(holder, "_state_cache", dict)
    if type(holder).__name__ == "PyramidAttentionBroadcastHook":
        return Slot(holder, "state", type(holder.state))
    return None


def _mapped(value: Any, kind: type, change: Callable[[Any], Any]) -> Any:
    """A copy of nested containers and hook states in which every `kind` is changed."""
    if isinstance(value, kind):
        return change(value)
    if isinstance(value, dict):
        return {k: _mapped(v, kind, change) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_mapped(v, kind, change) for v in value)
    if type(value).__module__.startswith("diffusers."):
        made = copy.copy(value)
        vars(made).update({k: _mapped(v, kind, change) for k, v in vars(value).items()})
        return made
    return value
