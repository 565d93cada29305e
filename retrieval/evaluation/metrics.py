"""Measures over whole rankings, one value a query, by scikit-learn.

Conventions of this package
---------------------------
- `scores` are real numbers [shape=(n_clips, n_tags)], higher where a tag fits a clip better: cosines, logits or
  probabilities. `truth` is bool of the same shape.
- A tag is a query and its column a ranking of the clips (tag -> clip); transposed, a clip is a query and its row a
  ranking of the tags (clip -> tag). Every function here takes queries as columns.
- Undefined is NaN, is counted, and is never 0: average precision, nDCG and ranks without a positive, ROC-AUC without a
  positive or without a negative. A mean over queries is the mean of the defined ones (macro average).
- Tied scores: average precision and ROC-AUC see one threshold for all clips of a score, as scikit-learn does (half a
  point a tied pair in the AUC). Measures at a cut-off (:mod:`retrieval.evaluation.ranking`) and nDCG are expected
  values over all orders of the tied clips, each equally likely, so that no measure depends on the input's order.
- Average precision is the step-wise sum of precision times the gain in recall, without interpolation (Manning, Raghavan
  and Schütze 2008, section 8.4). Its mean over tags is both the mean average precision of retrieval and what papers
  on tagging call macro PR-AUC; no trapezoid under the precision-recall curve is taken, which flatters (Davis and
  Goadrich 2006).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

__all__ = ["average_precisions", "mean_defined", "n_undefined", "ndcgs_at", "roc_aucs", "validate"]


def validate(scores: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Scores as float64 and truth as bool, both [shape=(n_clips, n_tags)].

    Raises:
        ValueError: other shapes, nothing to measure, scores that are no finite numbers, truth other than yes and no.
    """
    scored, known = np.asarray(scores), np.asarray(truth)
    if scored.ndim != 2 or scored.shape != known.shape:
        raise ValueError(f"scores and truth have one shape (n_clips, n_tags), not {scored.shape} and {known.shape}")
    if not scored.size:
        raise ValueError(f"nothing to measure: {scored.shape[0]} clips and {scored.shape[1]} tags")
    if known.dtype != bool and not np.isin(known, (0, 1)).all():
        raise ValueError("truth holds other values than 0 and 1")
    values = scored.astype(np.float64)
    if not np.isfinite(values).all():
        raise ValueError(f"{int((~np.isfinite(values)).sum())} scores are no finite numbers: leave such clips out")
    return values, known.astype(bool)


def average_precisions(scores: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Average precision of each column, [shape=(n_tags,)] in (0, 1]; NaN without a positive."""
    from sklearn.metrics import average_precision_score

    return _by_column(average_precision_score, scores, truth, defined=_has(truth))


def roc_aucs(scores: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Area under the ROC curve of each column, [shape=(n_tags,)] in [0, 1]; NaN without a positive or a negative."""
    from sklearn.metrics import roc_auc_score

    return _by_column(roc_auc_score, scores, truth, defined=_has(truth) & _has(~truth))


def ndcgs_at(scores: np.ndarray, truth: np.ndarray, k: int) -> np.ndarray:
    """Normalised discounted cumulative gain of the first `k`, [shape=(n_tags,)] in [0, 1]; NaN without a positive.

    Gain 1 a positive, discount 1 / log2(rank + 1) (Järvelin and Kekäläinen 2002), averaged over ties (McSherry and
    Najork 2008).
    """
    from sklearn.metrics import ndcg_score

    if len(truth) == 1:  # one clip is no ranking for scikit-learn; it is always in its place
        return np.where(truth[0], 1.0, np.nan)

    def of_column(known: np.ndarray, scored: np.ndarray) -> float:
        return float(ndcg_score(known[None].astype(float), scored[None], k=k))

    return _by_column(of_column, scores, truth, defined=_has(truth))


def mean_defined(values: np.ndarray, *, axis: int | None = None) -> np.ndarray:
    """The mean of what is not NaN, along an axis or of all; NaN where nothing is."""
    defined = ~np.isnan(values)
    counts = defined.sum(axis=axis)
    total = np.where(defined, values, 0.0).sum(axis=axis)
    return np.where(counts > 0, total / np.maximum(counts, 1), np.nan)


def n_undefined(values: np.ndarray) -> int:
    """How many values are NaN."""
    return int(np.isnan(values).sum())


def _has(truth: np.ndarray) -> np.ndarray:
    """Which columns have a positive, [shape=(n_tags,)]."""
    return np.asarray(truth.any(axis=0))


def _by_column(
    measure: Callable[[np.ndarray, np.ndarray], float], scores: np.ndarray, truth: np.ndarray, *, defined: np.ndarray
) -> np.ndarray:
    values = np.full(truth.shape[1], np.nan)
    for column in np.flatnonzero(defined):
        values[column] = measure(truth[:, column], scores[:, column])
    return values
