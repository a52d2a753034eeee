"""A strip shows every image where it belongs, as it is."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("PIL")

from PIL import Image

from commutant.integrations.evaluation import strip


def plain(colour: tuple[int, int, int], size: tuple[int, int] = (32, 32)):
    return Image.new("RGB", size, colour)


RED, GREEN, BLUE = (200, 10, 10), (10, 200, 10), (10, 10, 200)


def places(picture, colour: tuple[int, int, int]) -> tuple[int, int, int, int]:
    """Left, top, width and height of what has a colour."""
    y, x = np.nonzero((np.asarray(picture) == colour).all(axis=-1))
    return int(x.min()), int(y.min()), int(np.ptp(x)) + 1, int(np.ptp(y)) + 1


def test_methods_are_rows_and_seeds_are_columns() -> None:
    rows = {"first": [plain(RED), plain(GREEN)], "a second method with a name": [plain(BLUE), None]}
    picture = strip(rows, columns=("seed 0", "seed 1"), cell=64)
    red, green, blue = (places(picture, c) for c in (RED, GREEN, BLUE))
    assert red[2:] == green[2:] == blue[2:] == (64, 64)
    assert (red[1], red[0]) == (green[1], blue[0])
    assert green[0] == red[0] + 64 + 4
    assert blue[1] == red[1] + 64 + 4
    left = np.asarray(picture)[:, : red[0]]
    for top in (red[1], blue[1]):
        assert (left[top : top + 64] < 128).any(), "a name stands at the left"
    assert (np.asarray(picture)[: red[1], red[0] :] < 160).any(), "a heading stands above"


def test_enlarging_repeats_pixels() -> None:
    values = np.random.default_rng(0).integers(20, 120, (4, 4, 3), dtype=np.uint8)
    picture = np.asarray(strip({"": [Image.fromarray(values)]}, cell=16))
    repeated = values.repeat(4, axis=0).repeat(4, axis=1)
    windows = np.lib.stride_tricks.sliding_window_view(picture, (16, 16), axis=(0, 1)).transpose(0, 1, 3, 4, 2)
    assert (windows == repeated).all(axis=(2, 3, 4)).sum() == 1


def test_long_names_are_broken_and_nothing_is_cut() -> None:
    name = "HR in 8 steps by DPM++ 2M, with a cache of the whole transformer, and a tail of five steps that are guided"
    picture = strip({name: [plain(RED)]}, cell=128)
    left = places(picture, RED)[0]
    assert left < 340
    ink = (np.asarray(picture)[:, :left] < 128).all(axis=-1)
    assert not ink[:, 0].any()
    assert np.ptp(np.nonzero(ink.any(axis=1))[0]) > 40, "more than one line"


def test_proportions_are_kept() -> None:
    assert places(strip({"wide": [plain(RED, (64, 32))]}, cell=96), RED)[2:] == (96, 48)


def test_what_is_no_table_is_refused() -> None:
    with pytest.raises(ValueError, match="one length"):
        strip({"a": [plain(RED)], "b": []})
    with pytest.raises(ValueError, match="one length"):
        strip({})
    with pytest.raises(ValueError, match="headings"):
        strip({"a": [plain(RED)]}, columns=("1", "2"))
    with pytest.raises(ValueError, match="at least one image"):
        strip({"a": [None]})
