"""How far a measure would vary with other clips: a bootstrap over clips.

Clips are drawn with replacement, as many as there are; with `groups`, whole groups are (clips of one recording are no
independent evidence). Nothing is stratified: with several tags a clip no stratum would keep every tag's count, so a
rare tag may have no positive in a resample, is then undefined there, and the mean is that of the other tags.

A resample holds copies, and lacks some rare tags; both flatter or hurt measures at a cut-off, so that the resamples'
mean lies beside the estimate. Hence only their spread is taken: an interval is the estimate plus the quantiles of the
deviations from the resamples' mean (the percentile interval, Efron and Tibshirani 1993, section 13.3, less the
bootstrap's estimate of bias, section 10.2), cut to the measure's range. It covers the choice of clips, not that of tags
or of a training run's seed, and says little of a tag with fewer than about ten clips.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from retrieval.evaluation.metrics import mean_defined
from retrieval.evaluation.ranking import RankTable, rank_table

__all__ = ["CUTOFFS", "Intervals", "bootstrap", "tag_measures"]

CUTOFFS = (1, 5, 10)
_MOST_COUNTS = 4_000_000  # weights held at once: 32 MB


@dataclass(frozen=True)
class Intervals:
    """`macro`: measure -> (low, high); `average_precision` [shape=(n_tags, 2)] a tag's own, NaN without positives."""

    macro: dict[str, tuple[float, float]]
    average_precision: np.ndarray


def tag_measures(table: RankTable) -> dict[str, np.ndarray]:
    """Every measure of one query, by the name it has in reports, each [shape=(n_weightings,)]."""
    precision = table.average_precision()
    return {
        "map": precision,
        "pr_auc": precision,
        "roc_auc": table.roc_auc(),
        "precision_at_10": table.precision_at(10),
        **{f"recall_at_{k}": table.recall_at(k) for k in CUTOFFS},
        **{f"hit_at_{k}": table.hit_at(k) for k in CUTOFFS},
        "median_rank": table.first_rank(),
        "ndcg_at_10": table.ndcg_at(10),
    }


def bootstrap(
    scores: np.ndarray,
    truth: np.ndarray,
    *,
    n_resamples: int,
    seed: int,
    groups: np.ndarray | None = None,
    level: float = 0.95,
) -> Intervals:
    """Intervals of the tag -> clip measures.

    Args:
        scores: [shape=(n_clips, n_tags)].
        truth: bool [shape=(n_clips, n_tags)].
        n_resamples: how many resamples; 1000 settle two digits.
        seed: the same seed and clips give the same intervals.
        groups: [shape=(n_clips,)] what is drawn as a whole; default: every clip by itself.
        level: the share of resamples inside an interval.

    Raises:
        ValueError: fewer than 2 resamples, or a level outside (0, 1).
    """
    if n_resamples < 2 or not 0.0 < level < 1.0:
        raise ValueError(f"at least 2 resamples and a level in (0, 1) are needed, not {n_resamples} and {level}")
    n_clips, n_tags = truth.shape
    if groups is None:
        member, n_groups = np.arange(n_clips), n_clips
    else:
        names, member = np.unique(np.asarray(groups), return_inverse=True)
        n_groups = len(names)
    rng = np.random.default_rng(seed)
    values: dict[str, np.ndarray] = {}
    at_once = max(1, _MOST_COUNTS // n_clips)
    for first in range(0, n_resamples, at_once):
        rows = slice(first, min(first + at_once, n_resamples))
        drawn = rng.multinomial(n_groups, np.full(n_groups, 1.0 / n_groups), size=rows.stop - rows.start)
        weights = drawn[:, member]
        for column in range(n_tags):
            for name, measured in tag_measures(rank_table(scores[:, column], truth[:, column], weights)).items():
                values.setdefault(name, np.full((n_resamples, n_tags), np.nan))[rows, column] = measured
    exact = [tag_measures(rank_table(scores[:, column], truth[:, column])) for column in range(n_tags)]
    estimates = {name: np.array([[measured[name][0] for measured in exact]]) for name in values}
    macro = {
        name: _interval(_over_tags(name, of_tags), float(_over_tags(name, estimates[name])[0]), name, level)
        for name, of_tags in values.items()
    }
    by_tag = np.array(
        [_interval(values["map"][:, column], estimates["map"][0, column], "map", level) for column in range(n_tags)]
    )
    return Intervals(macro, by_tag)


def _over_tags(name: str, values: np.ndarray) -> np.ndarray:
    """A measure's one figure in each resample [shape=(n_resamples,)]."""
    if name != "median_rank":
        return mean_defined(values, axis=1)
    return np.array([np.median(row[~np.isnan(row)]) if (~np.isnan(row)).any() else np.nan for row in values])


def _interval(values: np.ndarray, estimate: float, name: str, level: float) -> tuple[float, float]:
    defined = values[~np.isnan(values)]
    if not len(defined) or np.isnan(estimate):
        return float("nan"), float("nan")
    spread = np.quantile(defined, [(1.0 - level) / 2, (1.0 + level) / 2]) - defined.mean()
    lowest, highest = (1.0, np.inf) if name == "median_rank" else (0.0, 1.0)
    low, high = np.clip(estimate + spread, lowest, highest)
    return float(low), float(high)
