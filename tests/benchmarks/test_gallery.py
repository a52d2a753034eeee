"""The gallery's measurements on fields with known answers, its picture, and its file of values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from commutant.benchmarks.gallery.commutators import Remembering, Run, apart, norms
from commutant.benchmarks.gallery.families import Entry, families
from commutant.benchmarks.gallery.strip import strip
from commutant.benchmarks.gallery.values import Values
from commutant.commutator import GaussianField
from commutant.operators import Affine, BlockMean, Flip, LinearOperator, Resize, Translate

STEP, T, SIDE = 3, 0.8, 16


def run() -> Run:
    """A state on a rectified flow, with its noise."""
    generator = torch.Generator().manual_seed(0)
    noise, signal = torch.randn((2, 1, 4, SIDE, SIDE), generator=generator, dtype=torch.float64)
    return Run(noise, {STEP: ((1 - T) * signal + T * noise, T)}, seed=5)


def entry(operator: LinearOperator, **how: Any) -> Entry:
    return Entry.of(repr(operator), operator, operator, **how)


def norms_of(operator: LinearOperator, **how: Any) -> tuple[float, float]:
    return norms(entry(operator, **how), GaussianField(std=0.5), run(), STEP)


def test_rearrangements_commute_with_a_pointwise_field() -> None:
    right, naive = norms_of(Flip())
    assert right < 1e-12
    assert np.isnan(naive)  # there is no other state


def test_a_linear_pointwise_field_commutes_at_the_same_time() -> None:
    """Whatever the operator makes of the noise; the matched time is another, and the field is not that of means."""
    right, naive = norms_of(BlockMean(2))
    assert naive < 1e-12 < right
    assert norms_of(Affine.rotation(8))[1] < 1e-12


def test_noise_that_moves_along_is_nearer_than_other_noise() -> None:
    with_partner, _ = norms_of(Translate(4, 0))
    unrelated, _ = norms_of(Translate(4, 0), related=False)
    assert 0 < with_partner < unrelated


@pytest.mark.parametrize("operator", [Resize.by(2, "bilinear"), Affine.rotation(8)], ids=repr)
def test_signal_and_noise_are_carried_apart(operator: LinearOperator) -> None:
    """The definition; taking the whole state through the operator is something else."""
    made = run()
    x, t = made.states[STEP]
    moved = operator.noise_partner()(made.noise, made.seed)  # type: ignore[call-arg]
    expected = operator(x - t * made.noise) + t * moved
    torch.testing.assert_close(apart(entry(operator), made, x, t), expected)
    assert (expected - operator(x)).abs().max() > 0.1


def test_no_question_is_asked_twice() -> None:
    asked = []

    class Counted:
        def denoised(self, x: torch.Tensor, t: float) -> torch.Tensor:
            asked.append(t)
            return x * t

    field, x = Remembering(Counted()), torch.ones(1, 1, 2, 2)
    for question, t in ((x, 0.5), (x.clone(), 0.5), (x, 0.6), (x + 1, 0.5), (x.reshape(1, 1, 1, 4), 0.5)):
        torch.testing.assert_close(field.denoised(question, t), question * t)
    assert asked == [0.5, 0.6, 0.5, 0.5]


def test_values_are_kept_and_averaged(tmp_path: Path) -> None:
    flip, mean = entry(Flip()), entry(BlockMean(2))
    values = Values(times={3: 0.9})
    for seed, value in ((1, 0.1), (2, 0.3)):
        values.norms[seed, "page", flip.label, 3] = value, float("nan")
        values.norms[seed, "page", mean.label, 3] = value, 1.0
    values.save(tmp_path / "values.csv")
    again = Values.load(tmp_path / "values.csv")
    table = again.markdown("page", (flip, mean), (1, 2), (3,))
    assert table == values.markdown("page", (flip, mean), (1, 2), (3,))
    assert table.splitlines()[-2:] == ["| `Flip('horizontal')` | 0.200 | same |", "| `BlockMean(2)` | 0.200 | 1.000 |"]
    assert "naive" not in again.markdown("page", (flip,), (1, 2), (3,))
    with pytest.raises(KeyError):
        again.markdown("page", (flip,), (1, 2, 3), (3,))


def test_picture() -> None:
    image = np.random.default_rng(0).random((3, 256, 256))
    picture = strip(image, families()["means"][:2])
    assert picture.mode == "P"
    assert picture.size == (2 * 16 + 2 * 256 + 16, 16 + 28 + 256 + 16 + 28 + 96 + 2 * 28 + 16)
    shown = np.asarray(picture.convert("RGB"))
    assert (shown[0] == 255).all()  # a white margin
    noise = shown[16 + 28 + 256 + 16 + 28 :][:96, 16 : 16 + 96]
    assert (noise.max(axis=-1) == noise.min(axis=-1)).all()  # grey, whatever colours the image takes
