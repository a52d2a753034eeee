"""The gallery after a finish: the final stands behind its preview, and the page's list of infotexts follows."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

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
        return cls([kept(image) for image in images], info)

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
        """By its infotext; a grid's says the same as its first image's, and is none."""
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

    def sent(self) -> tuple[list[Any], str]:
        """For the page."""
        return self.images, json.dumps({**self.info, "infotexts": self.infotexts, DONE: self._done})


def kept(image: Any) -> Any:
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
    for moved, position in enumerate(sorted(set(positions))):
        made = final(gallery.infotexts[position + moved])
        if made is None:
            comments.append("Interrupted: the remaining previews were not finished.")
            break
        image, infotext, said = made
        gallery.insert(position + moved, image, infotext)
        if said:
            comments.append(said)
    return comments
