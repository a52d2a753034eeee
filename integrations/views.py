"""What a person looks at in a sheet folder, redrawn from what lies in it: `contact_sheet.png` and `index.html`."""

from __future__ import annotations

from typing import Any

from ..commutator.tape import write_atomically
from .contact_sheet import contact_sheet
from .page import page
from .sheet_folder import CONTACT_SHEET, PAGE, SheetFolder, png


def write_views(folder: SheetFolder, shown_path: str) -> None:
    """Redraw both. `shown_path` is the folder as the user typed it: it stands in the page's finish command."""
    record = folder.record
    previews = _present({p.seed: folder.image(p.image) for p in record.previews})
    finals = _present({p.seed: folder.image(p.final.image) for p in record.previews if p.final is not None})
    moved = _present({m.image: folder.image(m.image) for p in record.previews for m in p.moved})
    write_atomically(folder.path / CONTACT_SHEET, png(contact_sheet(record, previews, finals)))
    text = page(record, _files(previews), _files(finals), shown_path, _files(moved))
    write_atomically(folder.path / PAGE, text.encode())


def _files(images: dict[Any, Any]) -> dict[Any, bytes]:
    return {key: png(image) for key, image in images.items()}


def _present(images: dict[Any, Any]) -> dict[Any, Any]:
    return {key: image for key, image in images.items() if image is not None}
