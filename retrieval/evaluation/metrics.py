"""Measures of ranked clips and tags, each in one vectorised implementation.

Conventions
-----------
- `scores` are real numbers [shape=(n_clips, n_tags)], higher where a tag fits a clip better: cosines, logits or
  probabilities. `truth` is bool of the same shape.
- Tag -> clip: a tag is a query, its column ranks the clips. Clip -> tag: a clip is a query, its row ranks the tags.
- Undefined is NaN, is counted, and is never 0: every measure is undefined without a positive, ROC-AUC also without a
  negative. A mean over queries is the mean of the defined values (macro average).
- Ties: average precision and ROC-AUC treat equal scores as one threshold, as scikit-learn does (a tied pair counts half
  in the AUC). Measures at a cut-off, the first rank and nDCG are expectations over all orders of the tied items, each
  equally likely (McSherry and Najork 2008). So no measure depends on the order of the input.
- Average precision is the sum of precision times the gain in recall, without interpolation (Manning, Raghavan and
  Schütze 2008, section 8.4). Its mean over tags is the mAP of retrieval and the macro PR-AUC of papers on tagging. The
  trapezoid rule would be too optimistic (Davis and Goadrich 2006).
- Weights say how often each item counts. A bootstrap resample is a row of weights, so that each query is sorted once
  for all resamples.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = [
    "CUTOFFS",
    "RankTable",
    "clip_measures",
    "mean_defined",
    "n_undefined",
    "over_queries",
    "rank_table",
    "tag_measures",
    "validate",
]

CUTOFFS = (1, 5, 10)


def validate(scores: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return scores as float64 and truth as bool, both [shape=(n_clips, n_tags)].

    Raises:
        ValueError: the shapes differ, there is nothing to measure, a score is not finite, or truth is not 0 or 1.
    """
    scored, known = np.asarray(scores), np.asarray(truth)
    if scored.ndim != 2 or scored.shape != known.shape:
        raise ValueError(f"scores and truth need one shape (n_clips, n_tags), not {scored.shape} and {known.shape}")
    if not scored.size:
        raise ValueError(f"nothing to measure: {scored.shape[0]} clips and {scored.shape[1]} tags")
    if known.dtype != bool and not np.isin(known, (0, 1)).all():
        raise ValueError("truth has values other than 0 and 1")
    values = scored.astype(np.float64)
    if not np.isfinite(values).all():
        raise ValueError(f"{int((~np.isfinite(values)).sum())} scores are NaN or infinite: leave those clips out")
    return values, known.astype(bool)


def tag_measures(scores: np.ndarray, truth: np.ndarray, weights: np.ndarray | None = None) -> dict[str, np.ndarray]:
    """Return every tag -> clip measure by its name in reports, each [shape=(n_weightings, n_tags)].

    `map` is the average precision of each tag, `median_rank` the rank of its first positive; `over_queries` averages
    them.

    Args:
        scores: [shape=(n_clips, n_tags)].
        truth: bool [shape=(n_clips, n_tags)].
        weights: how often each clip counts, integers [shape=(n_weightings, n_clips)]; default: once each.
    """
    measured: dict[str, list[np.ndarray]] = {}
    for column in range(truth.shape[1]):
        table = rank_table(scores[:, column], truth[:, column], weights)
        for name, values in {
            "map": table.average_precision(),
            "roc_auc": table.roc_auc(),
            "precision_at_10": table.precision_at(10),
            **{f"recall_at_{k}": table.recall_at(k) for k in CUTOFFS},
            **{f"hit_at_{k}": table.hit_at(k) for k in CUTOFFS},
            "median_rank": table.first_rank(),
            "ndcg_at_10": table.ndcg_at(10),
        }.items():
            measured.setdefault(name, []).append(values)
    return {name: np.stack(values, axis=1) for name, values in measured.items()}


def clip_measures(scores: np.ndarray, truth: np.ndarray) -> dict[str, np.ndarray]:
    """Return every clip -> tag measure by its name in reports, each [shape=(n_clips,)].

    Args:
        scores: [shape=(n_clips, n_tags)].
        truth: bool [shape=(n_clips, n_tags)].
    """
    tables = [rank_table(row, known) for row, known in zip(scores, truth, strict=True)]
    return {
        **{f"precision_at_{k}": np.array([table.precision_at(k)[0] for table in tables]) for k in CUTOFFS},
        **{f"recall_at_{k}": np.array([table.recall_at(k)[0] for table in tables]) for k in CUTOFFS},
    }


def over_queries(name: str, values: np.ndarray) -> np.ndarray:
    """Return one value for all queries: the median of `median_rank`, the mean of any other measure.

    Args:
        name: of the measure.
        values: NaN where undefined [shape=(..., n_queries)].

    Returns:
        [shape=(...)]; NaN where no query is defined.
    """
    if name != "median_rank":
        return mean_defined(values, axis=-1)
    ordered = np.sort(values, axis=-1)  # NaN last
    n_defined = (~np.isnan(values)).sum(axis=-1, keepdims=True)
    middle = [np.maximum(n_defined - 1, 0) // 2, np.minimum(n_defined // 2, values.shape[-1] - 1)]
    return np.mean([np.take_along_axis(ordered, at, axis=-1)[..., 0] for at in middle], axis=0)


def mean_defined(values: np.ndarray, *, axis: int | None = None) -> np.ndarray:
    """Return the mean of the values that are not NaN, along an axis or of all; NaN if there is none."""
    defined = ~np.isnan(values)
    counts = defined.sum(axis=axis)
    total = np.where(defined, values, 0.0).sum(axis=axis)
    return np.where(counts > 0, total / np.maximum(counts, 1), np.nan)


def n_undefined(values: np.ndarray) -> int:
    """Return how many values are NaN."""
    return int(np.isnan(values).sum())


@dataclass(frozen=True)
class RankTable:
    """Cumulative counts of one query's ranking; each measure is a formula on them.

    Items of equal score form one group; groups are ordered from the best.

    Attributes:
        items: items in the groups up to and including this one [shape=(n_weightings, n_groups)].
        positives: positive items among them [shape=(n_weightings, n_groups)].
    """

    items: np.ndarray
    positives: np.ndarray

    @property
    def n_positives(self) -> np.ndarray:
        """All positives [shape=(n_weightings,)]."""
        return self.positives[:, -1]

    def expected_positives(self, k: int) -> np.ndarray:
        """Return the expected positives among the first `k` [shape=(n_weightings,)]; a group spreads them evenly."""
        before, hits_before, size, hits = self._group_of(k)
        return hits_before + hits * np.minimum(k - before, size) / np.maximum(size, 1)

    def precision_at(self, k: int) -> np.ndarray:
        """Return the share of positives among the first `k` places, also if there are fewer items."""
        return _nan_where(self.n_positives == 0, self.expected_positives(k) / k)

    def recall_at(self, k: int) -> np.ndarray:
        """Return the share of the positives that is among the first `k`."""
        return _ratio(self.expected_positives(k), self.n_positives)

    def hit_at(self, k: int) -> np.ndarray:
        """Return the probability of at least one positive among the first `k`.

        Within the group that the cut divides, drawing no positive has a hypergeometric probability.
        """
        before, hits_before, size, hits = self._group_of(k)
        drawn = np.minimum(k - before, size)
        miss: np.ndarray = np.ones(len(size))
        for step in range(k):
            chance = np.maximum(size - hits - step, 0) / np.maximum(size - step, 1)
            miss = np.where(step < drawn, miss * chance, miss)
        return _nan_where(self.n_positives == 0, np.where(hits_before > 0, 1.0, 1.0 - miss))

    def first_rank(self) -> np.ndarray:
        """Return the expected rank, from 1, of the first positive.

        Of p positives among g tied items, the first has the expected place (g + 1) / (p + 1).
        """
        group = np.argmax(self.positives > 0, axis=1)[:, None]
        size, hits = _steps(self.items), _steps(self.positives)
        at = [np.take_along_axis(counts, group, axis=1)[:, 0] for counts in (self.items, size, hits)]
        return _nan_where(self.n_positives == 0, at[0] - at[1] + (at[1] + 1) / (at[2] + 1))

    def average_precision(self) -> np.ndarray:
        """Return the average precision without interpolation."""
        precision = self.positives / np.maximum(self.items, 1)
        return _ratio((_steps(self.positives) * precision).sum(axis=1), self.n_positives)

    def roc_auc(self) -> np.ndarray:
        """Return the share of (positive, negative) pairs in the right order, ties half; NaN without a negative."""
        negatives = self.items - self.positives
        hits, misses = _steps(self.positives), _steps(negatives)
        below = negatives[:, -1:] - negatives
        return _ratio((hits * (below + misses / 2)).sum(axis=1), self.n_positives * negatives[:, -1])

    def ndcg_at(self, k: int) -> np.ndarray:
        """Return the nDCG of the first `k`: gain 1, discount 1 / log2(rank + 1) (Järvelin and Kekäläinen 2002)."""
        longest = int(self.items[:, -1].max())
        ranks = np.arange(1, longest + 1)
        discounts = np.concatenate([[0.0], np.cumsum(np.where(ranks <= k, 1.0 / np.log2(ranks + 1), 0.0))])
        reached = discounts[self.items]
        share = _steps(self.positives) / np.maximum(_steps(self.items), 1)
        return _ratio((share * _steps(reached)).sum(axis=1), discounts[self.n_positives])

    def _group_of(self, k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Return counts for the group with rank `k` (or the last): items and positives before it, and in it."""
        if k < 1:
            raise ValueError(f"k must be at least 1, not {k}")
        at = np.minimum((self.items < k).sum(axis=1), self.items.shape[1] - 1)[:, None]
        items, positives, size, hits = (
            np.take_along_axis(counts, at, axis=1)[:, 0]
            for counts in (self.items, self.positives, _steps(self.items), _steps(self.positives))
        )
        return items - size, positives - hits, size, hits


def rank_table(scores: np.ndarray, truth: np.ndarray, weights: np.ndarray | None = None) -> RankTable:
    """Return the counts of one query.

    Args:
        scores: [shape=(n_items,)].
        truth: bool [shape=(n_items,)].
        weights: how often each item counts, integers [shape=(n_weightings, n_items)]; default: once each.
    """
    order = np.argsort(-scores, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(scores[order])), len(order) - 1)
    counts = np.ones((1, len(order)), dtype=np.int64) if weights is None else weights[:, order].astype(np.int64)
    items = np.cumsum(counts, axis=1)[:, ends]
    positives = np.cumsum(counts * truth[order], axis=1)[:, ends]
    return RankTable(items, positives)


def _steps(cumulative: np.ndarray) -> np.ndarray:
    return np.diff(cumulative, axis=1, prepend=cumulative.dtype.type(0))


def _ratio(value: np.ndarray, by: np.ndarray) -> np.ndarray:
    return _nan_where(by == 0, value / np.where(by == 0, 1, by))


def _nan_where(undefined: np.ndarray, values: np.ndarray) -> np.ndarray:
    return np.where(undefined, np.nan, values)
