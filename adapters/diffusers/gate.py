"""A gate in front of the denoiser: it counts and times evaluations, or answers a placeholder without computing.

`torch.nn.Module.__call__` looks for `_compiled_call_impl` on the instance before anything else, so a callable put there
sits above hooks, offloading and `module.compile()`, and one `del` takes it away again.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from .owning import owner
from .placeholder import placeholder, rows

SLOT = "_compiled_call_impl"
_ABSENT = object()


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
