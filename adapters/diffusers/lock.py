"""One run at a time on a pipeline: threads wait for one another, and a plain call beside a preview is refused.

While a run is on, the scheduler's `step` and the models' calls are the run's own. The lock is of the objects, not of a
`Previewer`: pipelines that share a scheduler or a model share its lock. It is re-entrant, and held while something is
made, never while a generator waits for its caller.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import wraps
from typing import Any, TypeVar, cast
from weakref import WeakKeyDictionary

from ..errors import BusyError

_LOCKS: WeakKeyDictionary[Any, Any] = WeakKeyDictionary()  # pipelines, schedulers and models are equal by identity
_GUARD = threading.Lock()


@contextmanager
def held(pipe: Any) -> Iterator[None]:
    """Wait until no other thread runs the pipeline, or one of its components, through this package."""
    shared = {id(part): part for part in (pipe, *pipe.components.values()) if hasattr(part, "config")}
    with _GUARD:
        locks = [_LOCKS.setdefault(shared[key], threading.RLock()) for key in sorted(shared)]
    with ExitStack() as stack:
        for lock in locks:  # in one order for all threads
            stack.enter_context(lock)
        yield


@contextmanager
def guarded(pipe: Any) -> Iterator[None]:
    """For the length of the block the pipeline takes one call, from this thread: BusyError for any other.

    A call is looked up on the class, so the instance gets a class of the same name.
    """
    kind, owned, called = type(pipe), owner(type(pipe).__name__), False
    if hasattr(kind, "_commutant_guarded"):
        raise BusyError(f"a callback of a run on this {kind.__name__} started another one on it; do it after the run")

    @wraps(kind.__call__)
    def guarded_call(self: Any, *args: Any, **kwargs: Any) -> Any:
        nonlocal called
        owned()
        if called:
            raise BusyError(f"a callback of a run on this {kind.__name__} called it again; do it after the run")
        called = True
        return kind.__call__(self, *args, **kwargs)

    same = {"__call__": guarded_call, "__module__": kind.__module__, "_commutant_guarded": True}
    pipe.__class__ = type(kind.__name__, (kind,), same)
    try:
        yield
    finally:
        pipe.__class__ = kind


def owner(name: str) -> Callable[[], None]:
    """A check that raises BusyError in any thread but the one that made it."""
    thread = threading.get_ident()

    def check() -> None:
        if threading.get_ident() != thread:
            raise BusyError(
                f"another thread runs a preview or a finish on this {name} or a part of it; wait for it, or give this "
                "thread a pipeline of its own"
            )

    return check


Method = TypeVar("Method", bound=Callable[..., Any])


def holding(method: Method) -> Method:
    """`method`, no other thread on its pipeline meanwhile."""

    @wraps(method)
    def alone(self: Any, *args: Any, **kwargs: Any) -> Any:
        with held(self.pipe):
            return method(self, *args, **kwargs)

    return cast(Method, alone)
