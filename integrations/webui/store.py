"""Tapes of recent previews: in memory up to a size, then on disk up to a size, then gone.

A tape that is gone only costs time. What is read back from the disk is as untrusted as any file: a tape that is
changed, truncated or not a tape counts as gone, and is deleted.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from pathlib import Path

from ...commutator import Tape, TapeError

MIB = 2**20


class TapeStore:
    """Least recently used first out, of memory to disk, and of the disk for good. Safe to use from several threads."""

    def __init__(self, folder: Path, *, memory: int = 1024 * MIB, disk: int = 4096 * MIB) -> None:
        """`memory`, `disk`: bytes. `folder` is made on the first spill; tapes of an earlier session in it are found."""
        self.folder, self.memory, self.disk = Path(folder), memory, disk
        self._tapes: OrderedDict[str, Tape] = OrderedDict()
        self._lock = threading.RLock()

    def put(self, key: str, tape: Tape) -> None:
        """Keep `tape` under `key`, a SHA-256 in hex. ValueError for any other key: it becomes a file's name."""
        path = self._path(key)
        with self._lock:
            self._tapes[key] = tape
            self._tapes.move_to_end(key)
            path.unlink(missing_ok=True)
            while self._tapes and self.in_memory > self.memory:
                self._spill(*self._tapes.popitem(last=False))

    def get(self, key: str) -> Tape | None:
        """The tape under `key`, or None where it is not kept any more."""
        path = self._path(key)
        with self._lock:
            if key in self._tapes:
                self._tapes.move_to_end(key)
                return self._tapes[key]
            try:
                tape = Tape.load(path, framework="torch")
                path.touch()
                return tape
            except FileNotFoundError:
                return None
            except (TapeError, OSError) as error:
                print(f"commutant: {path.name} cannot be used: {error}")
                path.unlink(missing_ok=True)
                return None

    def clear(self) -> None:
        """Forget all tapes, those on disk too."""
        with self._lock:
            self._tapes.clear()
            for path in self._files():
                path.unlink(missing_ok=True)

    @property
    def in_memory(self) -> int:
        """Bytes of the tapes in memory."""
        return sum(size_of(tape) for tape in self._tapes.values())

    @property
    def on_disk(self) -> int:
        """Bytes of the tapes on disk."""
        return sum(path.stat().st_size for path in self._files())

    def _spill(self, key: str, tape: Tape) -> None:
        if size_of(tape) > self.disk:
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            tape.save(self._path(key))
            files = sorted(self._files(), key=lambda path: path.stat().st_mtime_ns)
            while files and sum(path.stat().st_size for path in files) > self.disk:
                files.pop(0).unlink(missing_ok=True)
        except OSError as error:  # a full disk: the tape is gone, the picture is not
            print(f"commutant: a tape could not be kept on disk: {error}")

    def _files(self) -> list[Path]:
        return [path for path in self.folder.glob("*.tape") if _is_key(path.stem)] if self.folder.is_dir() else []

    def _path(self, key: str) -> Path:
        if not _is_key(key):
            raise ValueError(f"a tape's key is a SHA-256 in hex, got {key!r:.80}")
        return self.folder / f"{key}.tape"


def size_of(tape: Tape) -> int:
    """Bytes of the tape's arrays."""
    arrays = [*tape.outputs, tape.noise, tape.state, *([] if tape.rng is None else [tape.rng])]
    return sum(int(array.nbytes) for array in arrays)


def _is_key(text: str) -> bool:
    return len(text) == 64 and all(c in "0123456789abcdef" for c in text)
