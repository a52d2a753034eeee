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

        def gate(*args: Any, **kwargs: Any) -> Any:
            hidden = kwargs["hidden_states"] if "hidden_states" in kwargs else args[0]
            if self.skip:
                # The answer is discarded; it only has to fit through the pipeline's guidance arithmetic.
                return (hidden.new_zeros(hidden.shape),)
            _synchronise(hidden.device)
            start = time.perf_counter()
            out = proceed(*args, **kwargs)
            _synchronise(hidden.device)
            self.seconds += time.perf_counter() - start
            self.rows += int(hidden.shape[0])
            return out

        vars(module)[SLOT] = gate
        try:
            yield self
        finally:
            if before is _ABSENT:
                vars(module).pop(SLOT, None)
            else:
                vars(module)[SLOT] = before


def _synchronise(device: Any) -> None:
    import torch

    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
