"""Each measure against its definition written out slowly, ties and resamples included."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, ndcg_score, roc_auc_score

from retrieval.evaluation import metrics, ranking
from retrieval.evaluation.bootstrap import bootstrap

SEEDS = range(12)


def problem(seed: int, *, n_clips: int = 7, levels: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """Scores with many ties and a truth with both kinds in it."""
    rng = np.random.default_rng(seed)
    truth = rng.random(n_clips) < 0.4
    truth[rng.integers(n_clips)] = True
    truth[np.flatnonzero(truth)[0] - 1] = False
    return rng.integers(levels, size=n_clips).astype(float), truth


def orders(scores: np.ndarray) -> list[list[int]]:
    """Every ranking that the scores allow."""
    allowed = [
        list(order)
        for order in itertools.permutations(range(len(scores)))
        if all(scores[a] >= scores[b] for a, b in itertools.pairwise(order))
    ]
    assert allowed
    return allowed


def slow_average_precision(scores: np.ndarray, truth: np.ndarray) -> float:
    total, recall_before = 0.0, 0.0
    for threshold in sorted(set(scores), reverse=True):
        chosen = scores >= threshold
        precision = truth[chosen].sum() / chosen.sum()
        recall = truth[chosen].sum() / truth.sum()
        total += (recall - recall_before) * precision
        recall_before = recall
    return total


def slow_roc_auc(scores: np.ndarray, truth: np.ndarray) -> float:
    pairs = [(a > b) + 0.5 * (a == b) for a in scores[truth] for b in scores[~truth]]
    return float(np.mean(pairs))


def slow_dcg(truth: np.ndarray, order: list[int], k: int) -> float:
    return sum(1.0 / math.log2(rank + 1) for rank, clip in enumerate(order[:k], 1) if truth[clip])


@pytest.mark.parametrize("seed", SEEDS)
def test_average_precision_and_roc_auc_are_their_definitions(seed: int) -> None:
    scores, truth = problem(seed)
    precision, auc = slow_average_precision(scores, truth), slow_roc_auc(scores, truth)
    table = ranking.rank_table(scores, truth)
    assert metrics.average_precisions(scores[:, None], truth[:, None])[0] == pytest.approx(precision)
    assert metrics.roc_aucs(scores[:, None], truth[:, None])[0] == pytest.approx(auc)
    assert table.average_precision()[0] == pytest.approx(precision)
    assert table.roc_auc()[0] == pytest.approx(auc)


@pytest.mark.parametrize("k", [1, 3, 5, 10])
@pytest.mark.parametrize("seed", SEEDS)
def test_cut_off_measures_are_means_over_the_orders_of_ties(seed: int, k: int) -> None:
    scores, truth = problem(seed)
    column = scores[:, None], truth[:, None]
    found = [truth[order[:k]].sum() for order in orders(scores)]
    assert ranking.precisions_at(*column, k)[0] == pytest.approx(np.mean(found) / k)
    assert ranking.recalls_at(*column, k)[0] == pytest.approx(np.mean(found) / truth.sum())
    assert ranking.hits_at(*column, k)[0] == pytest.approx(np.mean([count > 0 for count in found]))
    first = [next(rank for rank, clip in enumerate(order, 1) if truth[clip]) for order in orders(scores)]
    assert ranking.rank_table(scores, truth).first_rank()[0] == pytest.approx(np.mean(first))
    gain = np.mean([slow_dcg(truth, order, k) for order in orders(scores)])
    best = slow_dcg(truth, list(np.argsort(~truth, kind="stable")), k)
    assert metrics.ndcgs_at(*column, k)[0] == pytest.approx(gain / best)
    assert ranking.rank_table(scores, truth).ndcg_at(k)[0] == pytest.approx(gain / best)


@pytest.mark.parametrize("seed", SEEDS)
def test_weights_count_a_clip_as_often_as_its_copies_would(seed: int) -> None:
    scores, truth = problem(seed, n_clips=20, levels=9)
    weights = np.random.default_rng(seed).integers(4, size=(3, 20))
    weights[:, np.flatnonzero(truth)[0]] += 1
    table = ranking.rank_table(scores, truth, weights)
    for row, counts in enumerate(weights):
        copied, known = np.repeat(scores, counts), np.repeat(truth, counts)
        alone = ranking.rank_table(copied, known)
        assert table.average_precision()[row] == pytest.approx(average_precision_score(known, copied))
        assert table.roc_auc()[row] == pytest.approx(roc_auc_score(known, copied))
        assert table.ndcg_at(5)[row] == pytest.approx(ndcg_score(known[None].astype(float), copied[None], k=5))
        for measure in ("precision_at", "recall_at", "hit_at"):
            assert getattr(table, measure)(4)[row] == pytest.approx(getattr(alone, measure)(4)[0])
        assert table.first_rank()[row] == pytest.approx(alone.first_rank()[0])


def test_the_order_of_the_clips_changes_nothing() -> None:
    rng = np.random.default_rng(3)
    scores, truth = rng.integers(5, size=(30, 4)).astype(float), rng.random((30, 4)) < 0.3
    mixed = rng.permutation(30)
    for measure in (ranking.precisions_at, ranking.recalls_at, ranking.hits_at, metrics.ndcgs_at):
        np.testing.assert_allclose(measure(scores, truth, 7), measure(scores[mixed], truth[mixed], 7))


def test_undefined_is_nan_and_left_out_of_means() -> None:
    scores = np.array([[0.1, 0.5, 0.2], [0.9, 0.4, 0.3]])
    truth = np.array([[False, True, False], [False, True, True]])
    assert np.isnan(metrics.average_precisions(scores, truth)).tolist() == [True, False, False]
    assert np.isnan(metrics.roc_aucs(scores, truth)).tolist() == [True, True, False]
    for measure in (ranking.precisions_at, ranking.recalls_at, ranking.hits_at, metrics.ndcgs_at):
        assert np.isnan(measure(scores, truth, 1)).tolist() == [True, False, False]
    assert ranking.median_first_rank(scores, truth) == 1.0
    assert np.isnan(ranking.median_first_rank(scores, np.zeros_like(truth)))
    values = np.array([[np.nan, 1.0], [np.nan, 3.0]])
    assert metrics.mean_defined(values) == 2.0
    assert metrics.n_undefined(values) == 2
    np.testing.assert_array_equal(metrics.mean_defined(values, axis=0), [np.nan, 2.0])


@pytest.mark.parametrize(
    ("scores", "truth", "message"),
    [
        (np.zeros((2, 3)), np.zeros((3, 2)), "one shape"),
        (np.zeros(3), np.zeros(3), "one shape"),
        (np.zeros((0, 3)), np.zeros((0, 3)), "nothing to measure"),
        (np.array([[np.nan, np.inf]]), np.array([[1, 0]]), "2 scores are no finite numbers"),
        (np.zeros((1, 2)), np.array([[2, 0]]), "other values than 0 and 1"),
    ],
)
def test_bad_input_is_refused(scores: np.ndarray, truth: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        metrics.validate(scores, truth)
    with pytest.raises(ValueError, match="k must be"):
        ranking.precisions_at(np.zeros((2, 1)), np.ones((2, 1), dtype=bool), 0)


def test_bootstrap_intervals_are_those_of_copied_clips() -> None:
    rng = np.random.default_rng(5)
    truth = rng.random((40, 3)) < 0.4
    scores = truth + rng.normal(size=truth.shape)
    found = bootstrap(scores, truth, n_resamples=60, seed=8)
    draws = np.random.default_rng(8).multinomial(40, np.full(40, 1 / 40), size=60)
    slow = [
        [average_precision_score(np.repeat(truth[:, tag], row), np.repeat(scores[:, tag], row)) for tag in range(3)]
        for row in draws
    ]
    estimates = metrics.average_precisions(scores, truth)
    spread = np.quantile(np.mean(slow, axis=1), [0.025, 0.975]) - np.mean(slow)
    np.testing.assert_allclose(found.macro["map"], estimates.mean() + spread)
    spreads = np.quantile(slow, [0.025, 0.975], axis=0) - np.mean(slow, axis=0)
    np.testing.assert_allclose(found.average_precision, np.clip(estimates + spreads, 0.0, 1.0).T)
    again = bootstrap(scores, truth, n_resamples=60, seed=8)
    assert again.macro == found.macro
    assert bootstrap(scores, truth, n_resamples=60, seed=9).macro != found.macro
    low, high = found.macro["roc_auc"]
    assert low < np.mean(metrics.roc_aucs(scores, truth)) < high


def test_intervals_hold_the_estimate_also_where_copies_flatter() -> None:
    truth = np.eye(25, dtype=bool)[:, :12]  # one clip a tag: a resample has none of it, or several
    truth[12:15, :3] = True
    scores = truth + np.random.default_rng(4).normal(size=truth.shape)
    found = bootstrap(scores, truth, n_resamples=100, seed=1).macro
    estimates = {
        "precision_at_10": metrics.mean_defined(ranking.precisions_at(scores, truth, 10)),
        "recall_at_1": metrics.mean_defined(ranking.recalls_at(scores, truth, 1)),
        "median_rank": ranking.median_first_rank(scores, truth),
        "map": metrics.mean_defined(metrics.average_precisions(scores, truth)),
    }
    for name, estimate in estimates.items():
        assert found[name][0] <= estimate <= found[name][1]


def test_bootstrap_of_groups_keeps_them_whole() -> None:
    rng = np.random.default_rng(1)
    once, known = rng.normal(size=(30, 2)), rng.random((30, 2)) < 0.5
    copied, truth = np.repeat(once, 5, axis=0), np.repeat(known, 5, axis=0)
    groups = np.repeat(np.arange(30), 5)
    whole = bootstrap(copied, truth, n_resamples=100, seed=2, groups=groups).macro["roc_auc"]
    np.testing.assert_allclose(whole, bootstrap(once, known, n_resamples=100, seed=2).macro["roc_auc"])
    alone = bootstrap(copied, truth, n_resamples=100, seed=2).macro["roc_auc"]
    assert whole[1] - whole[0] > 1.5 * (alone[1] - alone[0])  # five copies are no five clips


def test_bootstrap_without_positives_is_undefined() -> None:
    found = bootstrap(np.eye(4), np.zeros((4, 4), dtype=bool), n_resamples=5, seed=0)
    assert np.isnan(found.macro["map"]).all()
    assert np.isnan(found.macro["median_rank"]).all()
    with pytest.raises(ValueError, match="at least 2 resamples"):
        bootstrap(np.eye(4), np.eye(4, dtype=bool), n_resamples=1, seed=0)
