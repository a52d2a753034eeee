"""Reading files that somebody else may have put there: in bounded time and memory, and no other file than the named."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from ...errors import Refusal


@contextmanager
def opened(path: Path, *, links: bool = False) -> Iterator[IO[bytes]]:
    """A regular file, open for reading. A pipe is not waited for, a device not read, a link not followed.

    Raises:
        Refusal: a link (unless `links`), a folder, a pipe, a device or a socket.
        OSError: as `open`; FileNotFoundError where there is nothing.
    """
    if not links and path.is_symlink():  # asked first for the message, and where the system has no O_NOFOLLOW
        raise Refusal(f"{path} is a link to another file; put the file itself there")
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    handle = os.open(path, flags if links else flags | getattr(os, "O_NOFOLLOW", 0))
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise Refusal(f"{path} is no regular file")
        file: IO[Any] = os.fdopen(handle, "rb", closefd=False)
        yield file
    finally:
        os.close(handle)


def read_limited(path: Path, most: int, what: str, *, links: bool = False) -> bytes:
    """The bytes of a regular file. Refusal where there are more than `most`; raises otherwise as `opened`."""
    with opened(path, links=links) as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise Refusal(f"{path} is too large for {what}: more than {most} bytes")
    return data
