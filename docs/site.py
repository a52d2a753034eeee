"""What mkdocs must be told because the repository root is the package and pages link out of `docs/`.

The pages are written for a forge, where `../CONTRIBUTING.md` and `../adapters/diffusers/caches.py` lead to the file. On
the site the pages of the root stand beside those of `docs/`, and a link to source code becomes its plain text.
"""

from __future__ import annotations

import posixpath
import re
import tempfile
from pathlib import Path
from typing import Any

from mkdocs.plugins import event_priority
from mkdocs.structure.files import File

ROOT = Path(__file__).resolve().parents[1]
# Files of the root that the site holds, and their names there: docs/README.md is the site's first page already.
HELD = {
    "README.md": "readme.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "LICENSE": "LICENSE.txt",
}
PARTS = ("__init__.py", "errors.py", "operators", "commutator", "adapters", "integrations")
LINK = re.compile(r"(?<!!)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)\s]+)\)|(!\[[^\]]*\])\(([^)\s]+)\)")
FENCE = re.compile(r"^(```.*?^```|~~~.*?^~~~)", re.MULTILINE | re.DOTALL)

_package = tempfile.TemporaryDirectory(prefix="commutant-site-")


@event_priority(100)  # before mkdocstrings reads its settings
def on_config(config: Any) -> Any:
    """Show mkdocstrings a folder `commutant` with the package's parts alone, whatever the checkout's name is."""
    package = Path(_package.name, "commutant")
    package.mkdir(exist_ok=True)
    for part in PARTS:
        if not (package / part).is_symlink():
            (package / part).symlink_to(ROOT / part)
    config.plugins["mkdocstrings"].config.handlers["python"]["paths"] = [_package.name]
    config.watch.extend(str(ROOT / part) for part in PARTS)
    return config


def on_files(files: Any, config: Any) -> Any:
    for source, name in HELD.items():
        files.append(File.generated(config, name, content=(ROOT / source).read_text(encoding="utf-8")))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Links of a page as they are called on the site. What stands in a fenced block is text and stays."""
    pieces = FENCE.split(markdown)
    return "".join(p if FENCE.match(p) else LINK.sub(lambda m: _link(m, page.file.src_uri), p) for p in pieces)


def _link(match: re.Match[str], page: str) -> str:
    text, target = (f"[{match[1]}]", match[2]) if match[2] else (match[3], match[4])
    path, anchor = re.fullmatch(r"([^#]*)(#.*)?", target).groups(default="")
    if not path or re.match(r"[a-z]+:", path):
        return match[0]
    root_pages = {name: source for source, name in HELD.items()}
    origin = root_pages.get(page, f"docs/{page}")
    aimed = posixpath.normpath(posixpath.join(posixpath.dirname(origin), path))
    if aimed in HELD:
        name = HELD[aimed]
    elif aimed.startswith("docs/"):
        name = aimed.removeprefix("docs/")
    elif (ROOT / aimed).exists() and not aimed.startswith(".."):
        return text[1:-1]  # source code: the site does not hold it
    else:
        return match[0]  # mkdocs names it as a dead link
    return f"{text}({posixpath.relpath(name, posixpath.dirname(page) or '.')}{anchor})"
