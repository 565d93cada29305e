"""Each measure against its definition written out slowly, ties and resamples included."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
import scipy.stats
from sklearn.metrics import average_precision_score, ndcg_score, roc_auc_score

from retrieval.evaluation import metrics
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
    table = metrics.rank_table(scores, truth)
    assert table.average_precision()[0] == pytest.approx(precision)
    assert table.average_precision()[0] == pytest.approx(average_precision_score(truth, scores))
    assert table.roc_auc()[0] == pytest.approx(auc)
    assert table.roc_auc()[0] == pytest.approx(roc_auc_score(truth, scores))


@pytest.mark.parametrize("k", [1, 3, 5, 10])
@pytest.mark.parametrize("seed", SEEDS)
def test_cut_off_measures_are_means_over_the_orders_of_ties(seed: int, k: int) -> None:
    scores, truth = problem(seed)
    table = metrics.rank_table(scores, truth)
    found = [truth[order[:k]].sum() for order in orders(scores)]
    assert table.precision_at(k)[0] == pytest.approx(np.mean(found) / k)
    assert table.recall_at(k)[0] == pytest.approx(np.mean(found) / truth.sum())
    assert table.hit_at(k)[0] == pytest.approx(np.mean([count > 0 for count in found]))
    first = [next(rank for rank, clip in enumerate(order, 1) if truth[clip]) for order in orders(scores)]
    assert table.first_rank()[0] == pytest.approx(np.mean(first))
    gain = np.mean([slow_dcg(truth, order, k) for order in orders(scores)])
    best = slow_dcg(truth, list(np.argsort(~truth, kind="stable")), k)
    assert table.ndcg_at(k)[0] == pytest.approx(gain / best)
    assert table.ndcg_at(k)[0] == pytest.approx(ndcg_score(truth[None].astype(float), scores[None], k=k))


@pytest.mark.parametrize("seed", SEEDS)
def test_weights_count_a_clip_as_often_as_its_copies_would(seed: int) -> None:
    scores, truth = problem(seed, n_clips=20, levels=9)
    weights = np.random.default_rng(seed).integers(4, size=(3, 20))
    weights[:, np.flatnonzero(truth)[0]] += 1
    table = metrics.rank_table(scores, truth, weights)
    for row, counts in enumerate(weights):
        copied, known = np.repeat(scores, counts), np.repeat(truth, counts)
        alone = metrics.rank_table(copied, known)
        assert table.average_precision()[row] == pytest.approx(average_precision_score(known, copied))
        assert table.roc_auc()[row] == pytest.approx(roc_auc_score(known, copied))
        assert table.ndcg_at(5)[row] == pytest.approx(ndcg_score(known[None].astype(float), copied[None], k=5))
        for measure in ("precision_at", "recall_at", "hit_at"):
            assert getattr(table, measure)(4)[row] == pytest.approx(getattr(alone, measure)(4)[0])
        assert table.first_rank()[row] == pytest.approx(alone.first_rank()[0])


@pytest.mark.parametrize("seed", SEEDS)
def test_many_tags_and_weightings_are_measured_as_each_alone(seed: int) -> None:
    rng = np.random.default_rng(seed)
    scores, truth = rng.integers(6, size=(25, 4)).astype(float), rng.random((25, 4)) < 0.3
    truth[0] = True
    weights = rng.integers(3, size=(5, 25))
    weights[:, 0] += 1
    for name, values in metrics.tag_measures(scores, truth, weights).items():
        assert values.shape == (5, 4)
        for row, column in np.ndindex(5, 4):
            copied = np.repeat(np.arange(25), weights[row])
            alone = metrics.tag_measures(scores[copied, column][:, None], truth[copied, column][:, None])
            assert values[row, column] == pytest.approx(alone[name][0, 0], nan_ok=True)
    by_clip = metrics.clip_measures(scores.T, truth.T)
    assert by_clip["recall_at_10"] == pytest.approx(metrics.tag_measures(scores, truth)["recall_at_10"][0])


def test_the_order_of_the_clips_changes_nothing() -> None:
    rng = np.random.default_rng(3)
    scores, truth = rng.integers(5, size=(30, 4)).astype(float), rng.random((30, 4)) < 0.3
    mixed = rng.permutation(30)
    reordered = metrics.tag_measures(scores[mixed], truth[mixed])
    for name, values in metrics.tag_measures(scores, truth).items():
        np.testing.assert_allclose(values, reordered[name])


def test_undefined_is_nan_and_left_out_of_means() -> None:
    scores = np.array([[0.1, 0.5, 0.2], [0.9, 0.4, 0.3]])
    truth = np.array([[False, True, False], [False, True, True]])
    measured = metrics.tag_measures(scores, truth)
    for name, values in measured.items():
        assert np.isnan(values[0]).tolist() == [True, name == "roc_auc", False]
    assert metrics.over_queries("median_rank", measured["median_rank"]).tolist() == [1.0]
    assert metrics.over_queries("map", measured["map"]).tolist() == [1.0]
    nothing = metrics.tag_measures(scores, np.zeros_like(truth))
    assert all(np.isnan(metrics.over_queries(name, values)).all() for name, values in nothing.items())
    values = np.array([[np.nan, 1.0], [np.nan, 3.0]])
    assert metrics.mean_defined(values) == 2.0
    assert metrics.n_undefined(values) == 2
    np.testing.assert_array_equal(metrics.mean_defined(values, axis=0), [np.nan, 2.0])


@pytest.mark.parametrize("n_undefined", range(6))
def test_the_median_rank_is_that_of_the_defined_queries(n_undefined: int) -> None:
    values = np.random.default_rng(n_undefined).permuted(np.arange(1.0, 13.0).reshape(2, 6), axis=1)
    values[:, :n_undefined] = np.nan
    np.testing.assert_allclose(metrics.over_queries("median_rank", values), np.nanmedian(values, axis=1))


@pytest.mark.parametrize(
    ("scores", "truth", "message"),
    [
        (np.zeros((2, 3)), np.zeros((3, 2)), "need one shape"),
        (np.zeros(3), np.zeros(3), "need one shape"),
        (np.zeros((0, 3)), np.zeros((0, 3)), "nothing to measure"),
        (np.array([[np.nan, np.inf]]), np.array([[1, 0]]), "2 scores are NaN or infinite"),
        (np.zeros((1, 2)), np.array([[2, 0]]), "values other than 0 and 1"),
    ],
)
def test_bad_input_is_refused(scores: np.ndarray, truth: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        metrics.validate(scores, truth)
    with pytest.raises(ValueError, match="k must be"):
        metrics.rank_table(np.zeros(2), np.ones(2, dtype=bool)).precision_at(0)


def test_bootstrap_intervals_are_those_of_copied_clips() -> None:
    rng = np.random.default_rng(5)
    truth = rng.random((40, 3)) < 0.4
    scores = truth + rng.normal(size=truth.shape)

    def mean_precision(rows: np.ndarray) -> float:
        return float(np.mean([average_precision_score(truth[rows, tag], scores[rows, tag]) for tag in range(3)]))

    slow = scipy.stats.bootstrap(
        (np.arange(40),), mean_precision, n_resamples=60, vectorized=False, method="percentile", rng=8
    )
    deviations = np.array(slow.confidence_interval) - slow.bootstrap_distribution.mean()
    found = bootstrap(scores, truth, n_resamples=60, seed=8)
    np.testing.assert_allclose(found.macro["map"], mean_precision(np.arange(40)) + deviations)
    assert found.undefined.tolist() == [0, 0, 0]
    assert bootstrap(scores, truth, n_resamples=60, seed=8).macro == found.macro
    assert bootstrap(scores, truth, n_resamples=60, seed=9).macro != found.macro


def test_intervals_hold_the_estimate_also_where_copies_flatter() -> None:
    truth = np.eye(25, dtype=bool)[:, :12]  # one clip a tag: a resample has none of it, or several
    truth[12:15, :3] = True
    scores = truth + np.random.default_rng(4).normal(size=truth.shape)
    found = bootstrap(scores, truth, n_resamples=100, seed=1)
    for name, values in metrics.tag_measures(scores, truth).items():
        assert found.macro[name][0] <= metrics.over_queries(name, values)[0] <= found.macro[name][1]
    assert (found.undefined[3:] > 10).all()  # no positive in e^-1 of the resamples
    assert (found.average_precision[:, 0] <= found.average_precision[:, 1]).all()


def test_bootstrap_of_groups_keeps_them_whole() -> None:
    rng = np.random.default_rng(1)
    once, known = rng.normal(size=(30, 2)), rng.random((30, 2)) < 0.5
    copied, truth = np.repeat(once, 5, axis=0), np.repeat(known, 5, axis=0)
    groups = np.repeat(np.arange(30), 5)
    whole = bootstrap(copied, truth, n_resamples=100, seed=2, groups=groups).macro["roc_auc"]
    np.testing.assert_allclose(whole, bootstrap(once, known, n_resamples=100, seed=2).macro["roc_auc"])
    alone = bootstrap(copied, truth, n_resamples=100, seed=2).macro["roc_auc"]
    assert whole[1] - whole[0] > 1.5 * (alone[1] - alone[0])  # five copies are not five clips


def test_bootstrap_without_positives_is_undefined() -> None:
    found = bootstrap(np.eye(4), np.zeros((4, 4), dtype=bool), n_resamples=5, seed=0)
    assert np.isnan(list(found.macro.values())).all()
    assert found.undefined.tolist() == [5] * 4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_resamples": 1}, "at least 2 resamples"),
        ({"level": 1.0}, "at least 2 resamples and a level"),
        ({"groups": np.zeros(4)}, "at least 2 clips or groups, not 1"),
    ],
)
def test_a_bootstrap_that_cannot_be_drawn(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        bootstrap(np.eye(4), np.eye(4, dtype=bool), **{"n_resamples": 5, "seed": 0, **options})
