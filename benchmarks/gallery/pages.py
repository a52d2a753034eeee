"""Generated parts of hand-written pages: what stands between two markers is replaced."""

from __future__ import annotations

from pathlib import Path


def markers(name: str) -> tuple[str, str]:
    """The lines between which the part `name` of a page stands."""
    return f"<!-- {name}:begin -->", f"<!-- {name}:end -->"


def part(page: str, name: str) -> str:
    """What stands between the markers of `name`; ValueError where they are not there once each, in order."""
    begin, end = markers(name)
    if page.count(begin) != 1 or page.count(end) != 1 or page.index(begin) > page.index(end):
        raise ValueError(f"the page must hold {begin} and, after it, {end}, once each")
    return page.split(begin)[1].split(end)[0].strip("\n")


def replaced(page: str, name: str, text: str) -> str:
    """The page with `text` between the markers of `name`."""
    old = part(page, name)
    begin, end = markers(name)
    head, tail = page.split(begin)[0], page.split(end)[1]
    return page if old == text else f"{head}{begin}\n{text}\n{end}{tail}"


def write(path: Path, name: str, text: str) -> None:
    """Replace a part of a page on disk."""
    path.write_text(replaced(path.read_text(encoding="utf-8"), name, text), encoding="utf-8")
