"""What a person looks at in a sheet folder, redrawn from what lies in it: `contact_sheet.png` and `index.html`."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ...commutator.atomic import write_atomically
from .contact_sheet import contact_sheet
from .folder import CONTACT_SHEET, PAGE, SheetFolder, png
from .page import page


def write_views(folder: SheetFolder, shown_path: str) -> None:
    """Redraw both. `shown_path` is the folder as the user typed it: it stands in the page's finish command."""
    with folder.locked():
        entries = folder.record.previews
        previews = _Whole(folder, {p.seed: (p.image, p.image_sha256) for p in entries})
        finals = _Whole(folder, {p.seed: (p.final.image, p.final.sha256) for p in entries if p.final is not None})
        transforms = _Whole(folder, {t.image: (t.image, t.sha256) for p in entries for t in p.transforms})
        write_atomically(folder.path / CONTACT_SHEET, png(contact_sheet(folder.record, previews, finals)))
        text = page(folder.record, _Files(previews), _Files(finals), shown_path, _Files(transforms))
        write_atomically(folder.path / PAGE, text.encode())


@contextlib.contextmanager
def redrawn(folder: Callable[[], SheetFolder | None], shown_path: str) -> Iterator[None]:
    """Redraw the sheet that there is after the block, however it ends.

    A failure to draw is only told where the block failed before: the first error is the one that counts.
    """

    def draw() -> None:
        if (there := folder()) is not None:
            write_views(there, shown_path)

    try:
        yield
    except BaseException:
        try:
            draw()
        except Exception as error:
            print(f"commutant: the contact sheet and the page were not redrawn: {error}", file=sys.stderr)
        raise
    draw()


class _Whole(Mapping[Any, Any]):
    """The pictures that are as they were written, as PIL: decoded anew when asked for, since all at once are large."""

    def __init__(self, folder: SheetFolder, named: Mapping[Any, tuple[str, str | None]]) -> None:
        self._folder = folder
        whole = {key: name for key, (name, sha256) in named.items() if folder.whole(name, sha256)}
        self._names = {key: name for key, name in whole.items() if folder.image(name) is not None}

    def __getitem__(self, key: Any) -> Any:
        return self._folder.image(self._names[key])

    def __iter__(self) -> Iterator[Any]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


class _Files(Mapping[Any, bytes]):
    """The same as PNG files."""

    def __init__(self, images: _Whole) -> None:
        self._images = images

    def __getitem__(self, key: Any) -> bytes:
        return png(self._images[key])

    def __iter__(self) -> Iterator[Any]:
        return iter(self._images)

    def __len__(self) -> int:
        return len(self._images)
