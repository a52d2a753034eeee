"""A sheet on disk: previews, their tapes and `sheet.json`, kept so that a crash loses at most what was being made.

Order of writing: a preview's files first, each atomically, then `sheet.json` that names them. What `sheet.json` names
is therefore complete; a file that it does not name is left over from an interrupted run and is simply written again.
A sheet that is replaced loses its files first and keeps its `sheet.json` until the new one takes its place. All writing
happens under the folder's lock, so a temporary file that is found under the lock was left by a process that was killed.
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
from typing import IO, Any

from ...adapters.sheet import Cost, Preview
from ...commutator import Tape
from ...commutator.atomic import TEMPORARY, sync_folder, write_atomically
from ...errors import Refusal, SheetError, TapeError
from .reading import opened, read_limited
from .record import (
    FinalRecord,
    PreviewRecord,
    SheetRecord,
    TransformRecord,
    file_names,
    ranges,
    transform_name,
)

SHEET_FILE = "sheet.json"
CONTACT_SHEET = "contact_sheet.png"
PAGE = "index.html"
_OWN = re.compile(
    r"(preview-\d+(-\d+)?\.png|tape-\d+(-\d+)?\.safetensors|final-\d+\.png|(transform|moved)-\d+-\d+\.png"
    r"|contact_sheet\.png|index\.html|sheet\.json)"
)
_RUNG = re.compile(r"(preview|tape)-(?P<seed>\d{1,20})(-\d+)?\.(png|safetensors)")
_LARGEST = 64 * 2**20  # of sheet.json, in bytes; a thousand previews take one megabyte
MOST_PIXELS = 2**26  # of a picture on a sheet; a PNG of some kilobytes can claim any number


class SheetFolder:
    """A folder that holds a sheet. Get one by `open` or `create`; `record` is what it held when last looked at."""

    def __init__(self, path: Path, record: SheetRecord) -> None:
        self.path = path
        self.record = record
        self._swept = False

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
        if not folder.exists() or all(_is_temporary(p.name) for p in folder.iterdir()):
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
        cls.check(path, record, overwrite)  # before there is a folder: a refused request leaves nothing behind
        folder = Path(path)
        if not folder.exists():
            folder.mkdir(parents=True, exist_ok=True)
            sync_folder(folder.parent)
        with _locked(folder):
            # Again under the lock: another process may have begun a sheet here meanwhile.
            there = cls.check(path, record, overwrite)
            if there is not None:
                return there
            for old in folder.iterdir():
                if old.name != SHEET_FILE and (_OWN.fullmatch(old.name) or _is_temporary(old.name)):
                    old.unlink()
            sync_folder(folder)
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
        """What is wrong with the preview or the tape of a seed, and what to do; None where nothing is."""
        entry = self.record.entry(seed)
        again = f"run the same preview with --seeds {seed} to make it again"
        fault = self._fault_of(entry.image, entry.image_sha256, again)
        if fault is None and entry.image_sha256 is None and self.image(entry.image) is None:
            fault = f"{entry.image} is no picture; {again}"
        return fault or self._fault_of(entry.tape, entry.tape_sha256, again)

    def faults(self) -> dict[int, str]:
        """By seed, what is wrong with any of its files, and what to do; seeds without a fault are left out."""
        found = {}
        for entry in self.record.previews:
            faults = [self.fault(entry.seed)]
            if entry.final is not None:
                again = f"run the same finish with --pick {entry.seed} to make it again"
                faults.append(self._fault_of(entry.final.image, entry.final.sha256, again))
            again = "run the same transform to make it again"
            faults += [self._fault_of(t.image, t.sha256, again) for t in entry.transforms]
            if any(faults):
                found[entry.seed] = "; ".join(fault for fault in faults if fault is not None)
        return found

    def _fault_of(self, name: str, sha256: str | None, again: str) -> str | None:
        try:
            with opened(self.path / name) as file:
                if sha256 is not None and _sha256_of(file) != sha256:
                    return f"{name} was changed or cut short after it was written; {again}"
        except FileNotFoundError:
            return f"{name} is missing; {again}"
        except Refusal as error:
            return f"{error}, or: {again}"
        return None

    def add(self, preview: Preview) -> None:
        """Keep a preview: its tape, its image, then its entry in `sheet.json`.

        One from a longer head than the sheet's plan has replaces that of its seed, whose files go last.
        """
        if preview.seed is None:
            raise SheetError("a sheet folder keeps previews of seeds; this one was made from a generator")
        seed, image, before = preview.seed, png(preview.image), set[str]()
        head = None if preview.plan.head == self.record.plan.head else preview.plan.head
        names = file_names(seed, head)

        def added(record: SheetRecord) -> SheetRecord:
            _check_made_for(preview, record)
            tape = preview.tape.save(self.path / names["tape"])
            write_atomically(self.path / names["image"], image)
            seen = hashlib.sha256(image).hexdigest()
            entry = PreviewRecord(seed, names["image"], names["tape"], tape, preview.cost, seen, head=head)
            before.update(name for p in record.previews if p.seed == seed for name in (p.image, p.tape))
            # A preview made again, because its tape was lost, leaves the final and the transforms of its seed valid.
            return record.with_entry(_with_images_of(entry, record))

        self._update(added)
        if stale := before - set(names.values()):
            with self.locked():
                for name in stale:
                    (self.path / name).unlink(missing_ok=True)

    def add_final(self, seed: int, image: Any, cost: Cost) -> Path:
        """Keep the finished image of a seed; returns its path."""
        path, data = self.path / file_names(seed)["final"], png(image)

        def added(record: SheetRecord) -> SheetRecord:
            entry = record.entry(seed)
            write_atomically(path, data)
            final = FinalRecord(path.name, hashlib.sha256(data).hexdigest(), cost)
            return record.with_entry(dataclasses.replace(entry, final=final))

        self._update(added)
        return path

    def finished(self, seed: int) -> bool:
        """Whether the final of a seed is there, byte for byte as it was written."""
        final = self.record.entry(seed).final
        return final is not None and self.whole(final.image, final.sha256)

    def whole(self, name: str, sha256: str | None) -> bool:
        """Whether a file of the sheet is there, and byte for byte what was written where that was recorded."""
        return self._fault_of(name, sha256, "") is None

    def add_transform(self, seed: int, image: Any, how: str, at: int, noise_seed: int, cost: Cost) -> Path:
        """Keep a transformed image of a seed; returns its path. Arguments as in `TransformRecord`."""
        made: list[Path] = []
        data = png(image)

        def added(record: SheetRecord) -> SheetRecord:
            entry = record.entry(seed)
            path = self.path / transform_name(seed, len(entry.transforms) + 1)
            write_atomically(path, data)
            made.append(path)
            transform = TransformRecord(path.name, hashlib.sha256(data).hexdigest(), how, at, noise_seed, cost)
            return record.with_entry(dataclasses.replace(entry, transforms=(*entry.transforms, transform)))

        self._update(added)
        return made[0]

    def transform(self, seed: int, how: str, at: int, noise_seed: int) -> Path | None:
        """The transformed image of a seed that was made this way and is there, byte for byte; or None."""
        for made in self.record.entry(seed).transforms:
            same = (made.how, made.at, made.noise_seed) == (how, at, noise_seed)
            if same and self.whole(made.image, made.sha256):
                return self.path / made.image
        return None

    def load(self, seed: int, *, framework: str = "torch") -> Preview:
        """A preview as the adapter gave it, with its tape read and checked.

        Raises:
            SheetError: no such seed, or its tape is missing, changed, truncated or of another model.
        """
        entry = self.record.entry(seed)
        fault = self._fault_of(
            entry.tape, entry.tape_sha256, f"run the same preview with --seeds {seed} to make it again"
        )
        if fault is not None:
            raise SheetError(fault)
        try:
            tape = Tape.load(self.path / entry.tape, framework=framework)
        except TapeError as error:
            raise SheetError(str(error)) from None
        if tape.header.get("model") != self.record.model.fingerprint:
            raise SheetError(f"{entry.tape} was recorded with another model than this sheet")
        image = self.image(entry.image)
        index = self.seeds.index(seed)
        return Preview(index, seed, image, tape, dict(self.record.call), entry.cost, self.record.plan_of(entry))

    def image(self, name: str) -> Any:
        """An image of the sheet, as PIL; None where the file is missing, a link, too large or no whole PNG."""
        from PIL import Image

        try:
            with opened(self.path / name) as file, Image.open(file, formats=["PNG"]) as found:
                return found.convert("RGB") if found.width * found.height <= MOST_PIXELS else None
        except MemoryError:
            raise
        except OSError as error:
            if error.errno is not None and not isinstance(error, FileNotFoundError):
                raise  # the disk, not the picture: Pillow's own have no number
            return None
        except Exception:  # on damaged chunks Pillow raises SyntaxError, struct.error and what else its parsers meet
            return None

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes from writing to the sheet meanwhile; `record` is what it holds now."""
        with _locked(self.path):
            self.record = _read(self.path)
            if not self._swept:
                for path in self.path.iterdir():
                    if _is_temporary(path.name) or self._is_superseded(path.name):
                        path.unlink(missing_ok=True)
                self._swept = True
            yield

    def _is_superseded(self, name: str) -> bool:
        """Whether a file is of a preview that a refinement has replaced, or of a refinement that was never recorded."""
        match = _RUNG.fullmatch(name)
        entries = [p for p in self.record.previews if match is not None and p.seed == int(match["seed"])]
        return bool(entries) and name not in (entries[0].image, entries[0].tape)

    def _update(self, change: Callable[[SheetRecord], SheetRecord]) -> None:
        # Read again under the lock: a finish may run beside a preview that is still filling the same sheet.
        with self.locked():
            self.record = change(self.record)
            self._write()

    def _write(self) -> None:
        write_atomically(self.path / SHEET_FILE, self.record.to_json().encode())


def _is_temporary(name: str) -> bool:
    match = TEMPORARY.fullmatch(name)
    return match is not None and _OWN.fullmatch(match["name"]) is not None


def _check_made_for(preview: Preview, record: SheetRecord) -> None:
    """SheetError where a preview is not of the request that a sheet holds, be it that the sheet was replaced since."""
    of_sheet = preview.plan.replaced(head=record.plan.head, name=record.plan.name)
    if preview.plan.name != record.plan.name or of_sheet.to_dict() != record.plan.to_dict():
        raise SheetError(f"the preview of seed {preview.seed} was made with another plan than this sheet")
    if dict(preview.call) != dict(record.call):
        raise SheetError(f"the preview of seed {preview.seed} was made by another call than this sheet says")
    if preview.tape.header.get("model") != record.model.fingerprint:
        raise SheetError(f"the preview of seed {preview.seed} was made by another model than this sheet")


def _with_images_of(entry: PreviewRecord, record: SheetRecord) -> PreviewRecord:
    """`entry` with the final and the transformed images that the sheet holds for its seed."""
    before = next((p for p in record.previews if p.seed == entry.seed), entry)
    return dataclasses.replace(entry, final=before.final, transforms=before.transforms)


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
        return SheetRecord.from_json(read_limited(path, _LARGEST, "a sheet").decode("utf-8"))
    except FileNotFoundError:
        raise SheetError(f"{folder} holds no sheet (no {SHEET_FILE})") from None
    except UnicodeDecodeError:
        raise SheetError(f"{path}: sheet.json is not readable as JSON (no UTF-8 text)") from None
    except SheetError:
        raise
    except Refusal as error:
        raise SheetError(str(error)) from None


def _sha256_of(file: IO[bytes]) -> str:
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
