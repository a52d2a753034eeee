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
    previews, finals = {}, {}
    for entry in record.previews:
        previews[entry.seed] = folder.image(entry.image)
        if entry.final is not None:
            finals[entry.seed] = folder.image(entry.final.image)
    previews, finals = _present(previews), _present(finals)
    write_atomically(folder.path / CONTACT_SHEET, png(contact_sheet(record, previews, finals)))
    text = page(record, {s: png(i) for s, i in previews.items()}, {s: png(i) for s, i in finals.items()}, shown_path)
    write_atomically(folder.path / PAGE, text.encode())


def _present(images: dict[int, Any]) -> dict[int, Any]:
    return {seed: image for seed, image in images.items() if image is not None}
