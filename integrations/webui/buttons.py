"""What the Finish buttons do: from the page's gallery to the gallery with finals in it.

A final stands behind its preview, and the page's list of infotexts follows.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from .requests import Request, Requests


class Program(Protocol):
    """What a finish needs of the program (`program.py`)."""

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
        comments = finish_at(gallery, positions, self._final)
        shown, info = gallery.to_page()
        last = gallery.infotexts[min(positions[-1] + len(positions), len(gallery.infotexts) - 1)]
        return shown, info, self._program.html(last), self._program.html("\n".join(dict.fromkeys(comments)), "comments")

    def _final(self, infotext: str) -> tuple[Any, str, str] | None:
        if self._program.interrupted():
            return None
        request = self._requests.of(infotext)
        comment = ""
        if request is None:
            request = self._program.request_from(infotext)
            comment = "Preview: of an earlier session; finished by what its infotext says.\n"
        made = self._program.final_of(request, self._mode_at())
        return None if made is None else (made[0], made[1], comment + made[2])


DONE = "commutant_finished"  # in the page's generation info: infotexts of the previews that have their final


@dataclass
class Gallery:
    """What the page sent: its images, and the generation info that goes with them. ValueError for anything else."""

    images: list[Any]
    info: dict[str, Any]
    infotexts: list[str] = field(init=False)

    @classmethod
    def read(cls, images: Any, generation_info: Any) -> Gallery:
        try:
            info = json.loads(generation_info or "")
        except (TypeError, ValueError, RecursionError):
            raise ValueError("there is nothing to finish: generate previews first") from None
        if not isinstance(info, dict) or not isinstance(images, Sequence) or isinstance(images, str) or not images:
            raise ValueError("there is nothing to finish: generate previews first")
        return cls([sendable(image) for image in images], info)

    def __post_init__(self) -> None:
        texts = self.info.get("infotexts")
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            raise ValueError("the page's generation info has no infotexts")
        self.infotexts = texts
        done = self.info.get(DONE, [])
        self._done = [text for text in done if isinstance(text, str)] if isinstance(done, list) else []

    def previews(self) -> list[int]:
        """Positions of all previews that have no final yet."""
        first = self.info.get("index_of_first_image", 0)
        last = min(len(self.images), len(self.infotexts))
        start = first if type(first) is int and first >= 0 else 0
        return [i for i in range(start, last) if self.is_preview(i) and self.infotexts[i] not in self._done]

    def is_preview(self, position: int) -> bool:
        """By its infotext. A grid, whose infotext is its first image's, is none."""
        first = self.info.get("index_of_first_image", 0)
        if not (type(first) is int and first <= position < min(len(self.images), len(self.infotexts))):
            return False
        settings = self.infotexts[position].rsplit("\n", 1)[-1]
        return "Preview: " in settings and "Preview scale: " in settings

    def insert(self, position: int, image: Any, infotext: str) -> None:
        """`image` behind the preview at `position`."""
        self._done.append(self.infotexts[position])
        self.images.insert(position + 1, image)
        self.infotexts.insert(position + 1, infotext)
        for name in ("all_seeds", "all_subseeds", "all_prompts", "all_negative_prompts"):
            values, first = self.info.get(name), self.info.get("index_of_first_image", 0)
            if isinstance(values, list) and type(first) is int and 0 <= position - first < len(values):
                values.insert(position - first + 1, values[position - first])

    def to_page(self) -> tuple[list[Any], str]:
        """The images and the generation info, for the page."""
        return self.images, json.dumps({**self.info, "infotexts": self.infotexts, DONE: self._done})


def sendable(image: Any) -> Any:
    """A gallery image as the page takes it back without saving it a second time.

    Older gradio sends files as dicts, newer gradio pictures with their file's name; either may come in a pair with a
    caption.
    """
    picture = image[0] if isinstance(image, (tuple, list)) and image else image
    if isinstance(picture, dict):
        name = picture.get("name") or picture.get("path") or (picture.get("image") or {}).get("path")
        if isinstance(name, str):
            return name.rsplit("?", 1)[0]
    name = getattr(picture, "filename", None)
    if isinstance(name, str) and name:
        picture.already_saved_as = name.rsplit("?", 1)[0]
    return picture


def finish_at(
    gallery: Gallery,
    positions: Sequence[int],
    final: Callable[[str], tuple[Any, str, str] | None],
) -> list[str]:
    """Finish the previews at `positions`; returns the comments.

    `final(infotext)` gives image, infotext and comments, or None where the user has interrupted: the rest is left out.
    """
    comments: list[str] = []
    for inserted, position in enumerate(sorted(set(positions))):
        made = final(gallery.infotexts[position + inserted])
        if made is None:
            comments.append("Interrupted: the remaining previews were not finished.")
            break
        image, infotext, comment = made
        gallery.insert(position + inserted, image, infotext)
        if comment:
            comments.append(comment)
    return comments
