"""The profile of our own code counts our functions and what they call, and nothing else."""

import cProfile

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("diffusers")

from commutant.benchmarks.overhead import own_seconds
from commutant.operators import SpectralCrop


def seconds_of(call) -> float:
    profile = cProfile.Profile()
    profile.runcall(call)
    return own_seconds(profile)


def test_our_work_is_counted() -> None:
    crop, x = SpectralCrop.by(2), np.ones((64, 128, 128))
    assert seconds_of(lambda: crop(x)) > 0


def test_the_work_of_others_is_not() -> None:
    assert seconds_of(lambda: np.linalg.svd(np.ones((64, 64)))) == 0
