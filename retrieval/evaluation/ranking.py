"""One query's ranking as cumulated counts, and the measures that follow from them, for many weightings at once.

Ranked clips fall into groups of equal scores. How many clips, and how many positives, there are up to the end of each
group is all that a measure needs, and with clips counted several times (a bootstrap's resample) it is the same sum with
weights. So the bootstrap sorts once a query. Conventions: :mod:`retrieval.evaluation.metrics`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["RankTable", "hits_at", "median_first_rank", "precisions_at", "rank_table", "recalls_at"]


@dataclass(frozen=True)
class RankTable:
    """Cumulated counts of one query, best group of ties first.

    `items` and `positives` [shape=(n_weightings, n_groups)]: clips and positive clips in the groups up to this one.
    """

    items: np.ndarray
    positives: np.ndarray

    @property
    def n_positives(self) -> np.ndarray:
        """[shape=(n_weightings,)]."""
        return self.positives[:, -1]

    def expected_positives(self, k: int) -> np.ndarray:
        """Positives to expect among the first `k` [shape=(n_weightings,)]: within a group, each place has its share."""
        before, hits_before, size, hits = self._group_of(k)
        return hits_before + hits * np.minimum(k - before, size) / np.maximum(size, 1)

    def precision_at(self, k: int) -> np.ndarray:
        """The share of positives among the first `k` places, also where there are fewer clips; NaN without any."""
        return _nan_where(self.n_positives == 0, self.expected_positives(k) / k)

    def recall_at(self, k: int) -> np.ndarray:
        """The share of the positives that is among the first `k`; NaN without any."""
        return _ratio(self.expected_positives(k), self.n_positives)

    def hit_at(self, k: int) -> np.ndarray:
        """How probably at least one positive is among the first `k`; NaN without any.

        Within the group of ties that the cut goes through, the chance to draw no positive is hypergeometric.
        """
        before, hits_before, size, hits = self._group_of(k)
        drawn = np.minimum(k - before, size)
        miss: np.ndarray = np.ones(len(size))
        for step in range(k):
            chance = np.maximum(size - hits - step, 0) / np.maximum(size - step, 1)
            miss = np.where(step < drawn, miss * chance, miss)
        return _nan_where(self.n_positives == 0, np.where(hits_before > 0, 1.0, 1.0 - miss))

    def first_rank(self) -> np.ndarray:
        """The rank, from 1, at which the first positive is to be expected; NaN without any.

        Of p positives among g tied clips, the first is to be expected at place (g + 1) / (p + 1).
        """
        group = np.argmax(self.positives > 0, axis=1)[:, None]
        size, hits = self._steps(self.items), self._steps(self.positives)
        at = [np.take_along_axis(counts, group, axis=1)[:, 0] for counts in (self.items, size, hits)]
        return _nan_where(self.n_positives == 0, at[0] - at[1] + (at[1] + 1) / (at[2] + 1))

    def average_precision(self) -> np.ndarray:
        """Step-wise average precision; NaN without a positive."""
        precision = self.positives / np.maximum(self.items, 1)
        return _ratio((self._steps(self.positives) * precision).sum(axis=1), self.n_positives)

    def roc_auc(self) -> np.ndarray:
        """The share of (positive, negative) pairs in the right order, ties half; NaN without a positive or negative."""
        negatives = self.items - self.positives
        hits, misses = self._steps(self.positives), self._steps(negatives)
        below = negatives[:, -1:] - negatives
        return _ratio((hits * (below + misses / 2)).sum(axis=1), self.n_positives * negatives[:, -1])

    def ndcg_at(self, k: int) -> np.ndarray:
        """nDCG of the first `k`; NaN without a positive."""
        longest = int(self.items[:, -1].max())
        ranks = np.arange(1, longest + 1)
        discounts = np.concatenate([[0.0], np.cumsum(np.where(ranks <= k, 1.0 / np.log2(ranks + 1), 0.0))])
        reached = discounts[self.items]
        share = self._steps(self.positives) / np.maximum(self._steps(self.items), 1)
        return _ratio((share * self._steps(reached)).sum(axis=1), discounts[self.n_positives])

    def _steps(self, cumulated: np.ndarray) -> np.ndarray:
        return np.diff(cumulated, axis=1, prepend=cumulated.dtype.type(0))

    def _group_of(self, k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Of the group that holds rank `k` (the last one, if there are fewer clips): clips and positives before it, and
        in it; each [shape=(n_weightings,)]."""
        if k < 1:
            raise ValueError(f"k must be at least 1, not {k}")
        at = np.minimum((self.items < k).sum(axis=1), self.items.shape[1] - 1)[:, None]
        items, positives, size, hits = (
            np.take_along_axis(counts, at, axis=1)[:, 0]
            for counts in (self.items, self.positives, self._steps(self.items), self._steps(self.positives))
        )
        return items - size, positives - hits, size, hits


def rank_table(scores: np.ndarray, truth: np.ndarray, weights: np.ndarray | None = None) -> RankTable:
    """The counts of one query.

    Args:
        scores: [shape=(n_clips,)].
        truth: bool [shape=(n_clips,)].
        weights: how often each clip counts, whole numbers [shape=(n_weightings, n_clips)]; default: once each.
    """
    order = np.argsort(-scores, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(scores[order])), len(order) - 1)
    counts = np.ones((1, len(order)), dtype=np.int64) if weights is None else weights[:, order].astype(np.int64)
    items = np.cumsum(counts, axis=1)[:, ends]
    positives = np.cumsum(counts * truth[order], axis=1)[:, ends]
    return RankTable(items, positives)


def precisions_at(scores: np.ndarray, truth: np.ndarray, k: int) -> np.ndarray:
    """Precision at `k` of each column of [shape=(n_clips, n_tags)]: [shape=(n_tags,)]; NaN without a positive."""
    return np.array([table.precision_at(k)[0] for table in _tables(scores, truth)])


def recalls_at(scores: np.ndarray, truth: np.ndarray, k: int) -> np.ndarray:
    """Share of each column's positives among its first `k`, [shape=(n_tags,)]; NaN without a positive."""
    return np.array([table.recall_at(k)[0] for table in _tables(scores, truth)])


def hits_at(scores: np.ndarray, truth: np.ndarray, k: int) -> np.ndarray:
    """Whether a positive is among each column's first `k`, [shape=(n_tags,)] in [0, 1]; NaN without a positive."""
    return np.array([table.hit_at(k)[0] for table in _tables(scores, truth)])


def median_first_rank(scores: np.ndarray, truth: np.ndarray) -> float:
    """The median over columns of the rank of the first positive, from 1; NaN if no column has one."""
    ranks = np.array([table.first_rank()[0] for table in _tables(scores, truth)])
    defined = ranks[~np.isnan(ranks)]
    return float(np.median(defined)) if len(defined) else float("nan")


def _tables(scores: np.ndarray, truth: np.ndarray) -> list[RankTable]:
    return [rank_table(scores[:, column], truth[:, column]) for column in range(truth.shape[1])]


def _ratio(value: np.ndarray, by: np.ndarray) -> np.ndarray:
    return _nan_where(by == 0, value / np.where(by == 0, 1, by))


def _nan_where(undefined: np.ndarray, values: np.ndarray) -> np.ndarray:
    return np.where(undefined, np.nan, values)
