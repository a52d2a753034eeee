"""A sheet on disk: previews, their tapes and `sheet.json`, kept so that a crash loses at most what was being made.

Order of writing: a preview's files first, each atomically, then `sheet.json` that names them. What `sheet.json` names
is therefore complete; a file that it does not name is left over from an interrupted run and is simply written again.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import io
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ..adapters.sheet import Cost, Preview
from ..commutator import Tape, TapeError
from ..commutator.tape import write_atomically
from .sheet_record import (
    FinalRecord,
    MovedRecord,
    PreviewRecord,
    SheetError,
    SheetRecord,
    file_names,
    moved_name,
    ranges,
)

SHEET_FILE = "sheet.json"
CONTACT_SHEET = "contact_sheet.png"
PAGE = "index.html"
_OWN = re.compile(
    r"(preview-\d+\.png|tape-\d+\.safetensors|final-\d+\.png|moved-\d+-\d+\.png"
    r"|contact_sheet\.png|index\.html|sheet\.json)"
)
_LARGEST = 64 * 2**20  # of sheet.json, in bytes; a thousand previews take one megabyte


class SheetFolder:
    """A folder that holds a sheet. Get one by `open` or `create`; `record` is what it held when last looked at."""

    def __init__(self, path: Path, record: SheetRecord) -> None:
        self.path = path
        self.record = record

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> SheetFolder:
        """An existing sheet, validated. SheetError where there is none or it is malformed."""
        folder = Path(path)
        if not folder.is_dir():
            raise SheetError(f"no such folder: {folder}")
        return cls(folder, _read(folder))

    @classmethod
    def check(cls, path: str | os.PathLike[str], record: SheetRecord, overwrite: bool = False) -> SheetFolder | None:
        """Whether `record` may be made in `path`: the sheet that is there and can be extended, or None. Writes nothing.

        Raises:
            SheetError: the folder holds another request or something else, with the way out.
        """
        folder = Path(path)
        if folder.exists() and not folder.is_dir():
            raise SheetError(f"{folder} is a file; choose another --out")
        if not folder.exists() or not any(folder.iterdir()):
            return None
        if not (folder / SHEET_FILE).is_file():
            # Never overwrite what is not ours, whatever was asked: it has an index.html of its own, perhaps.
            raise SheetError(f"{folder} is not empty and holds no sheet; choose another --out")
        if overwrite:
            return None
        there = cls.open(folder)
        different = there.record.differences(record)
        if different:
            listed = ", ".join(different)
            raise SheetError(f"{folder} holds a sheet with another {listed}; choose another --out, or --overwrite it")
        return there

    @classmethod
    def create(cls, path: str | os.PathLike[str], record: SheetRecord, overwrite: bool = False) -> SheetFolder:
        """The sheet of `record` in `path`: a new one, or the one that is there already, to be extended.

        Raises:
            SheetError: as `check`.
        """
        there = cls.check(path, record, overwrite)
        if there is not None:
            return there
        folder = Path(path)
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.iterdir():
            if _OWN.fullmatch(old.name):
                old.unlink()
        sheet = cls(folder, dataclasses.replace(record, previews=()))
        sheet._write()
        return sheet

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds of all previews that are recorded."""
        return self.record.seeds

    def ready(self) -> tuple[int, ...]:
        """The seeds whose files are all there and unchanged: those that need not be made again."""
        return tuple(p.seed for p in self.record.previews if self.fault(p.seed) is None)

    def fault(self, seed: int) -> str | None:
        """What is wrong with the files of a seed, in words; None where nothing is."""
        entry = self.record.entry(seed)
        if not (self.path / entry.image).is_file():
            return f"{entry.image} is missing"
        try:
            self._tape_path(entry)
        except SheetError as error:
            return str(error)
        return None

    def add(self, preview: Preview) -> None:
        """Keep a preview: its tape, its image, then its entry in `sheet.json`."""
        if preview.seed is None:
            raise SheetError("a sheet folder keeps previews of seeds; this one was made from a generator")
        if preview.plan.to_dict() != self.record.plan.to_dict():
            raise SheetError(f"the preview of seed {preview.seed} was made with another plan than this sheet")
        if dict(preview.call) != dict(self.record.call):
            raise SheetError(f"the preview of seed {preview.seed} was made by another call than this sheet says")
        made_by = preview.tape.header.get("model")
        if made_by != self.record.model.fingerprint:
            raise SheetError(f"the preview of seed {preview.seed} was made by another model than this sheet")
        names = file_names(preview.seed)
        digest = preview.tape.save(self.path / names["tape"])
        write_atomically(self.path / names["image"], png(preview.image))
        entry = PreviewRecord(preview.seed, names["image"], names["tape"], digest, preview.cost)
        # A preview made again, because its tape was lost, leaves the finished and moved images of its seed valid.
        self._update(lambda record: record.with_entry(_with_images_of(entry, record)))

    def add_final(self, seed: int, image: Any, cost: Cost) -> Path:
        """Keep the finished image of a seed; returns its path."""
        self.record.entry(seed)
        path, data = self.path / file_names(seed)["final"], png(image)
        write_atomically(path, data)
        final = FinalRecord(path.name, hashlib.sha256(data).hexdigest(), cost)
        self._update(lambda record: record.with_entry(dataclasses.replace(record.entry(seed), final=final)))
        return path

    def finished(self, seed: int) -> bool:
        """Whether the final of a seed is there, byte for byte as it was written."""
        final = self.record.entry(seed).final
        if final is None:
            return False
        path = self.path / final.image
        return path.is_file() and _sha256_of(path) == final.sha256

    def add_moved(self, seed: int, image: Any, how: str, at: int, noise_seed: int, cost: Cost) -> Path:
        """Keep a moved image of a seed; returns its path. Arguments as in `MovedRecord`."""
        made: list[Path] = []
        data = png(image)

        def added(record: SheetRecord) -> SheetRecord:
            entry = record.entry(seed)
            path = self.path / moved_name(seed, len(entry.moved) + 1)
            write_atomically(path, data)
            made.append(path)
            moved = MovedRecord(path.name, hashlib.sha256(data).hexdigest(), how, at, noise_seed, cost)
            return record.with_entry(dataclasses.replace(entry, moved=(*entry.moved, moved)))

        self._update(added)
        return made[0]

    def moved(self, seed: int, how: str, at: int, noise_seed: int) -> Path | None:
        """The moved image of a seed that was made this way and is there, byte for byte; or None."""
        for moved in self.record.entry(seed).moved:
            path = self.path / moved.image
            same = (moved.how, moved.at, moved.noise_seed) == (how, at, noise_seed)
            if same and path.is_file() and _sha256_of(path) == moved.sha256:
                return path
        return None

    def load(self, seed: int, *, framework: str = "torch") -> Preview:
        """A preview as the adapter gave it, with its tape read and checked.

        Raises:
            SheetError: no such seed, or its tape is missing, changed, truncated or of another model.
        """
        entry = self.record.entry(seed)
        path = self._tape_path(entry)
        try:
            tape = Tape.load(path, framework=framework)
        except TapeError as error:
            raise SheetError(str(error)) from None
        if tape.header.get("model") != self.record.model.fingerprint:
            raise SheetError(f"{entry.tape} was recorded with another model than this sheet")
        image = self.image(entry.image)
        index = self.seeds.index(seed)
        return Preview(index, seed, image, tape, dict(self.record.call), entry.cost, self.record.plan)

    def image(self, name: str) -> Any:
        """An image of the sheet, as PIL; None where the file is missing or is no image."""
        from PIL import Image

        try:
            with Image.open(self.path / name, formats=["PNG"]) as opened:
                return opened.convert("RGB")
        except (OSError, ValueError, Image.DecompressionBombError):
            return None

    def _tape_path(self, entry: PreviewRecord) -> Path:
        path = self.path / entry.tape
        again = f"run the same preview with --seeds {entry.seed} to make it again"
        if not path.is_file():
            raise SheetError(f"{entry.tape} is missing; {again}")
        if _sha256_of(path) != entry.tape_sha256:
            raise SheetError(f"{entry.tape} was changed or cut short after it was written; {again}")
        return path

    def _update(self, change: Callable[[SheetRecord], SheetRecord]) -> None:
        # Read again under the lock: a finish may run beside a preview that is still filling the same sheet.
        with _locked(self.path):
            self.record = change(_read(self.path))
            self._write()

    def _write(self) -> None:
        write_atomically(self.path / SHEET_FILE, self.record.to_json().encode())


def _with_images_of(entry: PreviewRecord, record: SheetRecord) -> PreviewRecord:
    """`entry` with the final and the moved images that the sheet holds for its seed."""
    before = next((p for p in record.previews if p.seed == entry.seed), entry)
    return dataclasses.replace(entry, final=before.final, moved=before.moved)


def png(image: Any) -> bytes:
    """A PIL image as a PNG file, the way `image.save` writes it."""
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return buffer.getvalue()


def missing_seeds(folder: SheetFolder, seeds: list[int]) -> str | None:
    """A sentence on the seeds that a sheet does not hold, or None."""
    missing = [s for s in seeds if s not in folder.seeds]
    if not missing:
        return None
    there = f"it holds {ranges(folder.seeds)}" if folder.seeds else "it holds no previews yet"
    return f"no preview of seed {ranges(missing)} in {folder.path}: {there}"


def _read(folder: Path) -> SheetRecord:
    path = folder / SHEET_FILE
    try:
        if path.stat().st_size > _LARGEST:
            raise SheetError(f"{path}: too large for a sheet")
        return SheetRecord.from_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SheetError(f"{folder} holds no sheet (no {SHEET_FILE})") from None
    except UnicodeDecodeError:
        raise SheetError(f"{path}: sheet.json is not readable as JSON (no UTF-8 text)") from None


def _sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        digest = hashlib.sha256()
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Keep other processes from updating the sheet meanwhile, where the system can lock a folder (not on Windows)."""
    try:
        import fcntl
    except ImportError:
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        # A network file system without locks is no reason to fail; writes stay atomic.
        with contextlib.suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
