"""The evaluation of scores: every measure, on seen and unseen tags separately and together.

Parts of the result:

- "all": every tag over every clip.
- "seen": the trained tags over the clips that have one of them.
- "unseen": the held-out tags over the clips that have one of them. Only unseen tags compete: the easy form of the
  zero-shot protocol.
- "generalised": all clips and tags compete. Tag -> clip, each kind of tag ranks all clips; clip -> tag, seen and unseen
  tags are ranked together and the positives of each kind are counted. `harmonic_map` is the harmonic mean of the two
  mean average precisions (Xian et al. 2017, equation 1, there of accuracies).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from retrieval.evaluation import metrics
from retrieval.evaluation.bootstrap import Intervals, bootstrap

__all__ = ["evaluate"]


def evaluate(
    scores: np.ndarray,
    truth: np.ndarray,
    tags: Sequence[str],
    unseen: Sequence[str] = (),
    *,
    n_bootstrap: int = 0,
    seed: int = 0,
    groups: Sequence[str] | None = None,
) -> dict[str, Any]:
    """Measure how well scores predict the truth. Conventions: `retrieval.evaluation.metrics`.

    Args:
        scores: [shape=(n_clips, n_tags)], higher where a tag fits better.
        truth: bool [shape=(n_clips, n_tags)].
        tags: names of the columns.
        unseen: the tags that were held out from training; without any, "all" is the only part.
        n_bootstrap: resamples for 95% intervals of the tag -> clip measures; 0 computes none.
        seed: of the resampling.
        groups: a name for each clip; clips of one name are resampled together; default: each clip by itself.

    Returns:
        Plain values: {"parts": {"all": {...}, "seen": ..., "unseen": ..., "generalised": ...}, "per_tag": [{...}]}.
        A part has `n_clips`, `n_tags`, `chance_map`, `tag_to_clip`, `clip_to_tag`, `undefined` (the number of queries
        that the means leave out) and, with a bootstrap, `intervals`. Undefined values are NaN.

    Raises:
        ValueError: the shapes do not match, a tag is repeated, an unseen tag is not a column, or nothing is positive.
    """
    scores, truth = metrics.validate(scores, truth)
    if len(tags) != scores.shape[1] or len(set(tags)) != len(tags):
        raise ValueError(f"tags must be {scores.shape[1]} different names, not {list(tags)[:5]}")
    foreign = sorted(set(unseen) - set(tags))
    if foreign:
        raise ValueError(f"unseen tags that are not measured: {', '.join(foreign[:5])}")
    if not truth.any():
        raise ValueError("no positives: no clip has any of the tags")
    names = None if groups is None else np.asarray(groups)
    if names is not None and len(names) != len(truth):
        raise ValueError(f"{len(truth)} clips need as many groups, not {len(names)}")

    def resample(part_scores: np.ndarray, part_truth: np.ndarray, rows: np.ndarray) -> Intervals | None:
        inside = np.flatnonzero(rows) if names is None else names[rows]
        if not n_bootstrap or len(np.unique(inside)) < 2:
            return None
        return bootstrap(part_scores, part_truth, n_resamples=n_bootstrap, seed=seed, groups=inside)

    every = np.ones(len(truth), dtype=bool)
    intervals = resample(scores, truth, every)
    parts = {"all": _part(scores, truth, intervals)}
    held_out = np.isin(np.asarray(tags, dtype=object), list(unseen))
    if held_out.any():
        for name, columns in (("seen", ~held_out), ("unseen", held_out)):
            rows = np.asarray(truth[:, columns].any(axis=1))
            if rows.any():
                inside = scores[np.ix_(rows, columns)], truth[np.ix_(rows, columns)]
                parts[name] = _part(*inside, resample(*inside, rows))
            else:
                parts[name] = {"n_clips": 0, "n_tags": int(columns.sum())}
        parts["generalised"] = _generalised(scores, truth, held_out)
    return {"parts": parts, "per_tag": _per_tag(scores, truth, tags, held_out, intervals)}


def _tag_values(scores: np.ndarray, truth: np.ndarray) -> dict[str, np.ndarray]:
    """Return every tag -> clip measure of each column [shape=(n_tags,)], NaN where undefined."""
    return {name: values[0] for name, values in metrics.tag_measures(scores, truth).items()}


def _over_queries(values: dict[str, np.ndarray]) -> dict[str, float]:
    return {name: float(metrics.over_queries(name, of_queries)) for name, of_queries in values.items()}


def _part(scores: np.ndarray, truth: np.ndarray, intervals: Intervals | None) -> dict[str, Any]:
    of_tags, of_clips = _tag_values(scores, truth), metrics.clip_measures(scores, truth)
    part: dict[str, Any] = {
        "n_clips": len(truth),
        "n_tags": truth.shape[1],
        "chance_map": float(metrics.mean_defined(np.where(truth.any(axis=0), truth.mean(axis=0), np.nan))),
        "tag_to_clip": _over_queries(of_tags),
        "clip_to_tag": _over_queries(of_clips),
        "undefined": {
            "tags_without_positives": metrics.n_undefined(of_tags["map"]),
            "tags_without_roc_auc": metrics.n_undefined(of_tags["roc_auc"]),
            "clips_without_positives": metrics.n_undefined(of_clips["recall_at_1"]),
        },
    }
    if intervals is not None:
        part["intervals"] = {name: list(bounds) for name, bounds in intervals.macro.items()}
    return part


def _generalised(scores: np.ndarray, truth: np.ndarray, held_out: np.ndarray) -> dict[str, Any]:
    result: dict[str, Any] = {"n_clips": len(truth), "n_tags": truth.shape[1]}
    for name, columns in (("seen", ~held_out), ("unseen", held_out)):
        looked_for = truth & columns  # ranked among all the tags, but only these count as found
        result[name] = {
            "tag_to_clip": _over_queries(_tag_values(scores[:, columns], truth[:, columns])) if columns.any() else {},
            "clip_to_tag": _over_queries(metrics.clip_measures(scores, looked_for)),
        }
    both = [result[name]["tag_to_clip"].get("map", float("nan")) for name in ("seen", "unseen")]
    result["harmonic_map"] = 2.0 * both[0] * both[1] / (both[0] + both[1])
    return result


def _per_tag(
    scores: np.ndarray, truth: np.ndarray, tags: Sequence[str], held_out: np.ndarray, intervals: Intervals | None
) -> list[dict[str, Any]]:
    of_tags = _tag_values(scores, truth)
    rows = []
    for column, tag in enumerate(tags):
        row = {
            "tag": tag,
            "unseen": bool(held_out[column]),
            "n_positives": int(truth[:, column].sum()),
            "ap": float(of_tags["map"][column]),
            "roc_auc": float(of_tags["roc_auc"][column]),
            "precision_at_10": float(of_tags["precision_at_10"][column]),
            "recall_at_10": float(of_tags["recall_at_10"][column]),
            "first_rank": float(of_tags["median_rank"][column]),
        }
        if intervals is not None:
            row["ap_low"], row["ap_high"] = map(float, intervals.average_precision[column])
            row["undefined_resamples"] = int(intervals.undefined[column])
        rows.append(row)
    return rows
