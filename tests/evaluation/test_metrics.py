"""The metrics, against other implementations, on laws that all of them obey, and on cases with known answers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from commutant.integrations.evaluation import (
    METRICS,
    Metric,
    metrics_named,
    ms_ssim,
    ms_ssim_scales,
    piqe,
    psnr,
    scores,
)
from commutant.integrations.evaluation import sharpness as sharpness_ratio

from .laws import equal_pictures_are_best, falls, symmetric
from .pictures import blurred, cases, noisy, scene

COMPARING = [m for m in METRICS.values() if m.reference]
SYMMETRIC = [m for m in COMPARING if m.name != "sharpness"]

# Values of independent implementations on `cases()`, float64 where they can: piq 0.8.0 (psnr, ssim, multi_scale_ssim,
# gmsd, haarpsi, fsim with default arguments; scale_weights divided by their sum over the scales that fit),
# flip-evaluator 1.7 (evaluate(reference, image, "LDR"), mean of the map, float32) and pypiqe 1.2 (8 bits, BGR).
NAMES = ("psnr", "ssim", "ms_ssim", "gmsd", "haarpsi", "fsim", "flip", "piqe")
TOLERANCES = (1e-3, 2e-6, 2e-6, 2e-6, 1e-4, 1e-4, 1e-4, 0.01)
EXPECTED = {
    "blurred 1": (28.6532, 0.934481, 0.989200, 0.142201, 0.813535, 0.894589, 0.060648, 89.9267),
    "blurred 4": (21.5152, 0.735701, 0.865123, 0.198260, 0.456751, 0.792943, 0.228240, 100.0000),
    "noisy": (22.1945, 0.334956, 0.808533, 0.131663, 0.628567, 0.604730, 0.158483, 63.2777),
    "shifted": (17.2360, 0.654804, 0.782208, 0.324793, 0.303196, 0.717840, 0.243874, 56.7681),
    "darker": (16.2659, 0.919776, 0.940350, 0.023062, 0.938288, 0.985296, 0.537982, 57.0439),
    "odd sides": (24.3501, 0.573604, 0.916480, 0.076930, 0.792169, 0.707829, 0.135430, 47.2838),
    "large": (25.7885, 0.667704, 0.939031, 0.165391, 0.600284, 0.760785, 0.118611, 35.2561),
    "small": (20.5830, 0.614755, 0.912461, 0.083673, 0.784699, 0.751579, 0.184908, 44.8795),
}
CASES = cases()


@pytest.mark.parametrize("case", EXPECTED)
@pytest.mark.parametrize(("position", "name"), list(enumerate(NAMES)))
def test_agrees_with_another_implementation(case: str, position: int, name: str) -> None:
    reference, image = CASES[case]
    assert METRICS[name](image, reference) == pytest.approx(EXPECTED[case][position], abs=TOLERANCES[position])


def test_the_cases_tell_metrics_apart() -> None:
    """No two cases agree within a tolerance, so that a metric that ignores its input fails above."""
    table = np.array(list(EXPECTED.values()))
    for column, tolerance in zip(table.T, TOLERANCES):
        assert np.diff(np.sort(column)).min() > 2 * tolerance


@pytest.mark.parametrize("metric", COMPARING, ids=lambda m: m.name)
def test_equal_pictures_are_best(metric: Metric) -> None:
    image = scene()
    best = {"psnr": 60.0, "gmsd": 0.0, "flip": 0.0}.get(metric.name, 1.0)
    assert metric(image, image) == pytest.approx(best, abs=1e-9)
    assert equal_pictures_are_best(metric, image, [blurred(image, 1), noisy(image, 0.05)])


@pytest.mark.parametrize("metric", COMPARING, ids=lambda m: m.name)
@pytest.mark.parametrize("size", [(128, 128), (96, 131), (256, 256)])
def test_more_blur_and_more_noise_are_worse(metric: Metric, size: tuple[int, int]) -> None:
    image = scene(*size)
    assert falls(metric, image, blurred, [0.5, 1, 2, 4])
    assert falls(metric, image, noisy, [0.01, 0.02, 0.05, 0.1])


@pytest.mark.parametrize("metric", SYMMETRIC, ids=lambda m: m.name)
def test_symmetric(metric: Metric) -> None:
    reference, image = CASES["blurred 1"]
    assert symmetric(metric, image, reference)
    assert not symmetric(METRICS["sharpness"], image, reference)


def test_broken_metrics_fail() -> None:
    image = scene(64, 64)
    ssim = METRICS["ssim"]
    constant = replace(ssim, function=lambda a, b: 1.0)
    upside_down = replace(ssim, better="lower")
    wrong_way = replace(ssim, function=lambda a, b: 1.0 - float(np.mean(b * a)))
    assert not equal_pictures_are_best(constant, image, [blurred(image, 1)])
    assert not equal_pictures_are_best(upside_down, image, [blurred(image, 1)])
    assert not falls(constant, image, blurred, [1, 2])
    assert not falls(upside_down, image, noisy, [0.01, 0.1])
    assert not falls(wrong_way, image, lambda x, s: x / s, [1, 2])
    assert not symmetric(replace(ssim, function=lambda a, b: float(a.mean())), image, image / 2)


@pytest.mark.parametrize("metric", METRICS.values(), ids=lambda m: m.name)
def test_what_is_no_picture_is_refused(metric: Metric) -> None:
    image = scene(64, 64)
    for broken in (image * 255, image - 0.5, image[..., 0], image[..., :1], np.where(image > 0.5, np.nan, image)):
        with pytest.raises(ValueError, match="a picture"):
            metric(broken, image)
    if metric.reference:
        with pytest.raises(ValueError, match="one size"):
            metric(image, image[:32])
        with pytest.raises(ValueError, match="none was given"):
            metric(image)


@pytest.mark.parametrize("metric", METRICS.values(), ids=lambda m: m.name)
def test_flat_pictures_have_a_value(metric: Metric) -> None:
    """A failed generation is black: it must give a bad value, not nan."""
    black, image = np.zeros((64, 64, 3)), scene(64, 64)
    values = metric(black, image), metric(image, black), metric(black, black)
    assert np.isfinite(values).all()
    if metric.reference and metric.name != "sharpness":  # the sharpness of nothing over nothing is 0
        assert metric.merit(values[0]) < metric.merit(values[2])


def test_psnr() -> None:
    a = np.zeros((8, 8, 3))
    assert psnr(a + 0.1, a) == pytest.approx(20.0)
    assert psnr(a, a) == 60.0


def test_sharpness_sees_blur_and_noise() -> None:
    image = scene()
    assert sharpness_ratio(image, image) == 1.0
    assert sharpness_ratio(blurred(image, 1), image) < 0.8
    assert sharpness_ratio(noisy(image, 0.1), image) > 1.5


def test_piqe_sees_blocks_blur_and_noise() -> None:
    image = scene(192, 192)
    blocks = image.reshape(24, 8, 24, 8, 3).mean(axis=(1, 3), keepdims=True) + np.zeros((24, 8, 24, 8, 3))
    for worse in (blurred(image, 4), noisy(image, 0.2), blocks.reshape(image.shape)):
        assert piqe(worse) > piqe(image) + 3
    assert piqe(np.full((40, 40, 3), 0.5)) == 100.0


def test_ms_ssim_takes_the_scales_that_fit() -> None:
    assert [ms_ssim_scales(n, 500) for n in (10, 11, 40, 41, 80, 81, 128, 160, 161, 1024)] == [
        *(0, 1, 2, 3, 3, 4, 4, 4, 5, 5)
    ]
    with pytest.raises(ValueError, match="too small"):
        ms_ssim(np.zeros((10, 40, 3)), np.zeros((10, 40, 3)))
    # One scale is SSIM itself.
    small = scene(16, 16)
    assert ms_ssim(blurred(small, 1), small) == pytest.approx(METRICS["ssim"](blurred(small, 1), small))


def test_merit_turns_every_metric_the_same_way() -> None:
    assert METRICS["psnr"].merit(30) > METRICS["psnr"].merit(20)
    assert METRICS["flip"].merit(0.1) > METRICS["flip"].merit(0.2)
    ratios = METRICS["sharpness"].merit(np.array([0.0, 0.4, 0.8, 1.0, 1.25, 2.5]))
    assert ratios[3] == 0
    assert ratios[2] == pytest.approx(ratios[4])
    assert ratios[1] == pytest.approx(ratios[5])
    assert ratios[0] == -np.inf


def test_the_registry_answers_by_name() -> None:
    image = scene(64, 64)
    found = scores(image, image, metrics_named(["flip", "psnr"]))
    assert list(found) == ["flip", "psnr"]
    assert found == {"flip": 0.0, "psnr": 60.0}
    assert list(scores(image, image)) == list(METRICS)
    assert METRICS["psnr"].shown(21.179) == "21.18"
    with pytest.raises(ValueError, match="unknown metric 'lpips'; there are psnr, "):
        metrics_named(["psnr", "lpips"])
