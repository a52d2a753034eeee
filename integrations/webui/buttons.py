"""What the Finish buttons do: from the page's gallery to the gallery with finals in it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from .gallery import Gallery, finish_at
from .requests import Request, Requests


class Program(Protocol):
    """What a finish asks of the program (`program.py`)."""

    def request_from(self, infotext: str) -> Request: ...
    def final_of(self, request: Request, mode_at: int | None) -> tuple[Any, str, str] | None: ...
    def interrupted(self) -> bool: ...
    def html(self, text: str, classname: str | None = None) -> str: ...


class Buttons:
    """Handlers of `(task, gallery, index, generation_info)` that return gallery, info, infotext and log."""

    def __init__(self, program: Program, requests: Requests, mode_at: Callable[[], int | None]) -> None:
        self._program, self._requests, self._mode_at = program, requests, mode_at

    def finish_selected(self, task: str, images: Any, index: Any, generation_info: str) -> tuple[Any, str, str, str]:
        """Finish the selected preview."""

        def chosen(gallery: Gallery) -> list[int]:
            position = int(index) if isinstance(index, (int, float)) and index == index else -1
            if position < 0 and len(gallery.images) == 1:
                position = 0  # a gallery of one image has no selection to speak of
            if position < 0:
                raise ValueError("select a preview in the gallery first")
            if not gallery.is_preview(position):
                raise ValueError("the selected image is no preview")
            return [position]

        return self._finish(images, generation_info, chosen)

    def finish_all(self, task: str, images: Any, index: Any, generation_info: str) -> tuple[Any, str, str, str]:
        """Finish every preview that has no final yet."""

        def chosen(gallery: Gallery) -> list[int]:
            found = gallery.previews()
            if not found:
                raise ValueError("there is no preview without its final")
            return found

        return self._finish(images, generation_info, chosen)

    def _finish(self, images: Any, generation_info: str, chosen: Callable[[Gallery], list[int]]) -> Any:
        gallery: Gallery | None = None
        try:
            gallery = Gallery.read(images, generation_info)
            positions = chosen(gallery)
        except ValueError as error:
            shown = gallery.images if gallery is not None else images
            return shown, generation_info, "", self._program.html(f"Preview: {error}.", "comments")
        said = finish_at(gallery, positions, self._final)
        shown, info = gallery.sent()
        last = gallery.infotexts[min(positions[-1] + len(positions), len(gallery.infotexts) - 1)]
        return shown, info, self._program.html(last), self._program.html("\n".join(dict.fromkeys(said)), "comments")

    def _final(self, infotext: str) -> tuple[Any, str, str] | None:
        if self._program.interrupted():
            return None
        request = self._requests.of(infotext)
        said = ""
        if request is None:
            request = self._program.request_from(infotext)
            said = "Preview: of an earlier session; finished by what its infotext says.\n"
        made = self._program.final_of(request, self._mode_at())
        return None if made is None else (made[0], made[1], said + made[2])
