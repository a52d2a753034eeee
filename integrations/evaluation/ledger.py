"""What a comparison has found so far, on disk: a CSV file of one row per pair and entry, and a few images.

Written pair by pair, so that a long comparison that is stopped goes on where it was.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Sequence
from pathlib import Path

from ..errors import Refusal
from .contest import Outcome

COUNTS = ("high", "low", "finish")


class Ledger:
    """The rows of a comparison in `folder`/scores.csv.

    Args:
        entries, metrics: names; a file with others belongs to another comparison.
        shown: of how many pairs the images are kept, as PNG in `folder`/images.

    Raises:
        Refusal: a file of another comparison, or one that holds no numbers where numbers belong.
    """

    def __init__(self, folder: Path, entries: Sequence[str], metrics: Sequence[str], shown: int = 6) -> None:
        self.folder, self.entries, self.metrics, self.shown = folder, list(entries), list(metrics), shown
        self.path = folder / "scores.csv"
        self.columns = ["pair", "entry", *COUNTS, *self.metrics]
        self.rows: dict[tuple[int, str], dict[str, float]] = {}
        if self.path.exists():
            self._read()

    def complete(self) -> int:
        """How many pairs, from the first, have every entry."""
        pair = 0
        while all((pair, entry) in self.rows for entry in self.entries):
            pair += 1
        return pair

    def add(self, outcomes: Iterable[Outcome]) -> None:
        """Write rows, and the images of the first pairs."""
        self.folder.mkdir(parents=True, exist_ok=True)
        fresh = not self.path.exists()
        with self.path.open("a", newline="") as file:
            writer = csv.writer(file)
            if fresh:
                writer.writerow(self.columns)
            for outcome in outcomes:
                if outcome.pair < self.shown and outcome.image is not None:
                    self.image_path(outcome.pair, outcome.entry).parent.mkdir(exist_ok=True)
                    outcome.image.save(self.image_path(outcome.pair, outcome.entry))
                if not outcome.scores:
                    continue
                values = {**{c: getattr(outcome, c) for c in COUNTS}, **outcome.scores}
                written = {c: f"{values[c]:.6g}" for c in self.columns[2:]}
                # As a reader of the file will have them: going on gives the same sums as not having stopped.
                self.rows[outcome.pair, outcome.entry] = {c: float(v) for c, v in written.items()}
                writer.writerow([outcome.pair, outcome.entry, *written.values()])
                file.flush()

    def image_path(self, pair: int, entry: str) -> Path:
        """Where the preview of a pair by an entry is kept."""
        safe = "".join(c if c.isalnum() else "-" for c in entry)
        return self.folder / "images" / f"{pair:03d}-{safe}.png"

    def _read(self) -> None:
        text = self.path.read_text()
        whole = text[: text.rfind("\n") + 1]
        if whole != text:  # the run was stopped while it wrote the last line: that entry is made again
            part = self.path.with_suffix(".part")
            part.write_text(whole)
            part.replace(self.path)
        reader = csv.DictReader(whole.splitlines())
        if reader.fieldnames != self.columns:
            raise Refusal(f"{self.path} holds another comparison (other columns); give another folder")
        for line, row in enumerate(reader, 2):
            if row["entry"] not in self.entries:
                raise Refusal(f"{self.path} holds another comparison ({row['entry']!r:.80}); give another folder")
            try:
                pair, values = int(row["pair"]), {c: float(row[c]) for c in self.columns[2:]}
            except (TypeError, ValueError):
                raise Refusal(f"{self.path} line {line} is no row of numbers") from None
            if pair < 0 or not all(math.isfinite(v) for v in values.values()):
                raise Refusal(f"{self.path} line {line} is out of range")
            self.rows[pair, row["entry"]] = values
