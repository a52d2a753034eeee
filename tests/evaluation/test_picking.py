"""What a choice by previews is worth: hand-made scores, known choices, and what must not look like a good choice."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import kendalltau

from commutant.integrations.evaluation.picking import (
    MEASURES,
    LinearTastes,
    Rung,
    kendall_tau,
    ladder,
    picks,
    scored,
    spend,
)

FINALS = np.array([[1.0, 2.0, 3.0, 6.0]])  # mean 3, standard deviation sqrt(3.5)


def draws(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape)


def test_by_hand() -> None:
    found = picks(np.array([[4.0, 1.0, 9.0, 2.0]]), FINALS)  # picks the third
    # Pairs of seeds that both order alike or not: 01 -, 02 +, 03 -, 12 +, 13 +, 23 -.
    assert found.tau == pytest.approx([0.0])
    assert found.regret == pytest.approx([3.0 / np.sqrt(3.5)])
    assert found.kept == pytest.approx([0.0])  # the third final is exactly as good as the mean
    worst = picks(-FINALS, FINALS)
    assert (worst.tau[0], worst.kept[0]) == pytest.approx((-1.0, -2.0 / 3.0))
    assert worst.regret == pytest.approx([5.0 / np.sqrt(3.5)])
    second = picks(np.array([[0.0, 3.0, 2.0, 1.0]]), np.array([[0.0, 4.0, 6.0, 2.0]]))
    assert (second.kept[0], second.regret[0]) == pytest.approx((1.0 / 3.0, 2.0 / np.sqrt(5.0)))


def test_previews_that_order_as_the_finals_do_lose_nothing() -> None:
    finals = draws((5, 7, 16))
    found = picks(np.exp(finals), finals)  # any rising function
    for values, right in ((found.tau, 1.0), (found.regret, 0.0), (found.kept, 1.0)):
        np.testing.assert_allclose(values, right, atol=1e-12)


def test_previews_that_know_nothing_keep_nothing() -> None:
    finals = draws((300, 16))
    noise = picks(draws((300, 16), 1), finals)
    # Standard errors: tau .18 / sqrt(300) = .011; share kept about .6 / sqrt(300) = .033.
    assert abs(noise.tau.mean()) < 0.05
    assert abs(noise.kept.mean()) < 0.15
    blind = picks(np.zeros((300, 16)), finals)  # all tied: any seed is picked
    np.testing.assert_allclose(blind.tau, 0.0)
    np.testing.assert_allclose(blind.kept, 0.0, atol=1e-12)
    assert noise.regret.mean() == pytest.approx(blind.regret.mean(), abs=0.25)


def test_a_shuffled_order_is_noticed() -> None:
    finals, rng = draws((64, 16)), np.random.default_rng(2)
    good = picks(finals + 0.5 * draws((64, 16), 3), finals)
    shuffled = picks(rng.permuted(finals + 0.5 * draws((64, 16), 3), axis=1), finals)
    for measure, sign in zip(MEASURES, (1, -1, 1)):
        found = good.against(shuffled, measure, ("good", "shuffled"), np.random.default_rng(0))
        assert found.difference.excludes(0.0)
        assert np.sign(found.difference.mean) == sign
        assert found.test.p_value < 1e-6


def test_tau_is_scipys() -> None:
    rng = np.random.default_rng(4)
    a, b = rng.integers(0, 6, (40, 9)).astype(float), rng.integers(0, 6, (40, 9)).astype(float)  # with ties
    expected = [kendalltau(x, y).statistic for x, y in zip(a, b)]
    np.testing.assert_allclose(kendall_tau(a, b), expected, atol=1e-12)
    assert np.isnan(kendall_tau(np.ones(4), np.arange(4.0)))


def test_finals_that_are_all_the_same_say_nothing() -> None:
    finals = np.array([[[1.0, 1.0, 1.0], [0.0, 1.0, 2.0]], [[0.0, 0.0, 0.0], [0.0, 1.0, 2.0]]])
    previews = np.array([[[1.0, 2.0, 3.0], [0.0, 1.0, 2.0]], [[0.0, 2.0, 1.0], [2.0, 1.0, 0.0]]])
    found = picks(previews, finals)
    assert list(found.decided) == [False, True]
    assert np.isnan(found.tau[0])
    assert np.isnan(found.kept[0])
    assert (found.tau[1], found.kept[1]) == (0.0, 0.0)  # one taste has the right order, the other its reverse
    assert found.interval("kept", np.random.default_rng(0)).mean == 0.0
    half = picks(previews, np.array([finals[1, ::-1], finals[1]]))  # group 0 has one taste that decides
    assert half.kept[0] == pytest.approx(1.0)
    other = picks(previews[:, ::-1], finals[:, ::-1])
    with pytest.raises(ValueError, match="same finals"):
        found.against(other, "tau", ("a", "b"), np.random.default_rng(0))
    with pytest.raises(ValueError, match="n > 0"):
        picks(previews[:, :1], finals[:, :1]).interval("tau", np.random.default_rng(0))


def test_tied_previews_pick_any_of_them() -> None:
    found = picks(np.array([[5.0, 0.0, 0.0, 5.0]]), FINALS)
    assert found.kept == pytest.approx([((1.0 + 6.0) / 2 - 3.0) / 3.0])


def test_an_interval_covers_the_true_share_kept() -> None:
    def groups(count: int, rng: np.random.Generator) -> np.ndarray:
        finals = rng.standard_normal((count, 8))
        return picks(finals + rng.standard_normal((count, 8)), finals).kept

    truth = groups(200_000, np.random.default_rng(5)).mean()
    rng = np.random.default_rng(6)
    covered = 0
    for _ in range(200):
        finals = rng.standard_normal((40, 8))
        found = picks(finals + rng.standard_normal((40, 8)), finals)
        covered += not found.interval("kept", rng).excludes(truth)
    assert 0.87 < covered / 200 < 0.995  # .95 with a standard error of .015; the percentile bootstrap covers less


def test_a_ladder_by_hand() -> None:
    first = np.array([[4.0, 3.0, 2.0, 1.0]])
    second = np.array([[0.0, 9.0, np.nan, np.nan]])  # of the two that were kept
    np.testing.assert_array_equal(np.argsort(ladder([first, second], [2])), [[3, 2, 0, 1]])
    third = np.array([[7.0, np.nan, np.nan, np.nan]])
    with pytest.raises(ValueError, match="rung 2 has no finite score"):  # seed 1 was kept, not seed 0
        ladder([first, second, third], [2, 1])
    with pytest.raises(ValueError, match="rung 1 has no finite score"):
        ladder([first, second], [3])
    np.testing.assert_array_equal(np.argsort(ladder([first], [])), [[3, 2, 1, 0]])


def test_a_rung_that_sees_more_helps_and_the_last_one_decides() -> None:
    finals = draws((3, 200, 16))
    rough, fine = finals + 1.0 * draws(finals.shape, 7), finals + 0.3 * draws(finals.shape, 8)
    once, twice, all_fine = (picks(s, finals).kept for s in (rough, ladder([rough, fine], [4]), fine))
    assert once.mean() + 0.05 < twice.mean() < all_fine.mean() + 1e-12
    sorted_by_finals = picks(ladder([rough, finals], [4]), finals)
    in_four = np.take_along_axis(finals, np.argsort(-rough, axis=-1)[..., :4], axis=-1).max(axis=-1)
    expected = (finals.max(axis=-1) - in_four) / finals.std(axis=-1)
    np.testing.assert_allclose(sorted_by_finals.regret, expected.mean(axis=0))


def test_what_no_ladder_is() -> None:
    scores = draws((2, 8))
    for kept in ([8], [0], [9], [2, 2]):
        with pytest.raises(ValueError):
            ladder([scores, scores], kept)
    with pytest.raises(ValueError, match="keeps fewer"):
        ladder([scores, scores, scores], [4, 4])
    with pytest.raises(ValueError, match="shape"):
        ladder([scores, scores[:, :4]], [4])


def test_spend() -> None:
    assert spend([Rung(8 / 30, 0.0)], [16]) == pytest.approx(16 * 8 / 30 + 1)  # plain fewer steps leave nothing
    assert spend([Rung(0.27, 0.2)], [16]) == pytest.approx(16 * 0.27 + 0.8)
    refined = [Rung(0.27, 0.2), Rung(0.45, 0.4)]
    assert spend(refined, [16, 4]) == pytest.approx(16 * 0.27 + 4 * (0.45 - 0.2) + 0.6)
    assert spend([Rung(0.3, 0.0), Rung(0.4, 0.3)], [16, 4]) == pytest.approx(16 * 0.3 + 4 * 0.4 + 0.7)
    assert spend([Rung(0.4, 0.4), Rung(0.3, 0.2)], [8, 2]) == pytest.approx(8 * 0.4 + 2 * 0.1 + 0.6)
    with pytest.raises(ValueError, match="each of 2 rungs"):
        spend(refined, [16])
    with pytest.raises(ValueError, match="share"):
        Rung(0.3, 1.5)


def test_tastes_are_deterministic_and_of_unit_features() -> None:
    reference = draws((500, 3)) * [1.0, 10.0, 0.01]
    tastes = LinearTastes.drawn(4000, reference, np.random.default_rng(9))
    again = LinearTastes.drawn(4000, reference, np.random.default_rng(9))
    np.testing.assert_array_equal(tastes.weights, again.weights)
    assert (tastes.weights != LinearTastes.drawn(4000, reference, np.random.default_rng(10)).weights).all()
    each = (tastes.weights * reference.std(axis=0)).std(axis=0)
    np.testing.assert_allclose(each, 1.0, atol=0.05)  # whatever its unit, a feature matters as much as another
    features = draws((2, 5, 3), 11)
    assert tastes(features).shape == (4000, 2, 5)
    np.testing.assert_allclose(tastes(features)[7, 1, 3], tastes.weights[7] @ features[1, 3])
    with pytest.raises(ValueError, match="1 of 3 features do not vary"):
        LinearTastes.drawn(2, reference * [1, 0, 1], np.random.default_rng(0))
    with pytest.raises(ValueError, match="tastes and features"):
        LinearTastes.drawn(0, reference, np.random.default_rng(0))


def test_any_scorer() -> None:
    groups = [[np.full((4, 4, 3), v) for v in row] for row in ((0.1, 0.5), (0.9, 0.2))]
    found = scored(groups, [lambda p: float(p.mean()), lambda p: -float(p.mean())])
    np.testing.assert_allclose(found, [[0.1, 0.5], [-0.9, -0.2]])
    with pytest.raises(ValueError, match="picture 1 of group 0 is nan"):
        scored(groups, [lambda p: float("nan") if p.mean() > 0.3 else 0.0, lambda p: 0.0])
    with pytest.raises(ValueError, match="same number"):
        scored([groups[0], groups[1][:1]], [np.mean, np.mean])


def test_scores_that_are_refused() -> None:
    with pytest.raises(ValueError, match="same seeds"):
        picks(draws((2, 4)), draws((2, 5)))
    with pytest.raises(ValueError, match="K > 1"):
        picks(draws((4,)), draws((4,)))
    with pytest.raises(ValueError, match="K > 1"):
        picks(draws((4, 1)), draws((4, 1)))
    with pytest.raises(ValueError, match="1 of 4 scores are not finite"):
        picks(np.array([[1.0, np.nan, 2.0, 3.0]]), FINALS)
