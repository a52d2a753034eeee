"""Share a small machine: a step takes all threads while the machine is idle, and one while others run on it."""

import os
import time
from pathlib import Path

import torch

_STAT = Path("/proc/stat")


def running_processes() -> int:
    """Number of runnable threads on this machine, this one included; 1 where Linux's /proc is not there."""
    if not _STAT.exists():
        return 1
    for line in _STAT.read_text(encoding="ascii").splitlines():
        if line.startswith("procs_running"):
            return int(line.split()[1])
    return 1


def adapt_threads(limit: int) -> None:
    """Set torch's thread count for the next step.

    A parallel region waits for its slowest thread, so one starved thread would cost more than it brings: with other
    work on the machine, leave them a core each and go on with what is left (at least one). A process that was given
    priority (negative niceness) is not starved and keeps all its threads.
    """
    if os.getpriority(os.PRIO_PROCESS, 0) < 0:
        torch.set_num_threads(limit)
    else:
        torch.set_num_threads(max(1, limit - (running_processes() - 1)))


def wait_while(marker: Path | None) -> float:
    """Sleep while the file `marker` exists, so that others can time things; return the seconds slept."""
    began = time.monotonic()
    while marker is not None and marker.exists():
        time.sleep(1.0)
    return time.monotonic() - began
