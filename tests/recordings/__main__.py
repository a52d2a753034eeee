"""`python -m tests.recordings --write FILE` or `--compare FILE`: exit code 1 where bits differ or results are gone."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

# Before numpy and torch are imported, which read them then.
os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ |= {"DIFFUSERS_VERBOSITY": "error", "TRANSFORMERS_VERBOSITY": "error"}

from .recording import Recording


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.recordings", description=__doc__)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--write", type=Path, metavar="FILE", help="record what this checkout computes")
    what.add_argument("--compare", type=Path, metavar="FILE", help="compute it and compare, bit by bit")
    what.add_argument("--write-files", type=Path, metavar="FOLDER", help="tapes, a sheet and plans of this version")
    parser.add_argument("--small", action="store_true", help="write what is small enough to be committed")
    options = parser.parse_args(arguments)
    if options.write_files:
        from .written import write

        write(options.write_files)
        return 0
    from . import cases, machine

    with cases.one_thread():
        now = Recording.of(cases.made(), machine.described())
    if options.write:
        now = now.small(cases.worth_a_place) if options.small else now
        now.save(options.write)
        print(f"{len(now.digests)} results of {now.machine} in {options.write}")
        return 0
    before = Recording.load(options.compare)
    return compared(before, now)


def compared(before: Recording, now: Recording) -> int:
    """Print what differs; the exit code."""
    if before.machine != now.machine:
        print(f"recorded on {before.machine}\nmade now on {now.machine}")
    found = before.differences(now)
    for difference in found:
        print(difference)
    for name in sorted(set(now.digests) - set(before.digests)):
        print(f"{name}: is new")
    print(f"{len(before.digests) - len(found)} of {len(before.digests)} results are equal bit for bit")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
