"""One evaluation of scores: every measure, on seen and unseen tags apart and together.

Parts of the result:

- "all": every tag over every clip.
- "seen": the tags that were trained, over the clips that have one of them.
- "unseen": the tags that were held out, over the clips that have one of them; a clip is given unseen tags only. This is
  the easy form of the zero-shot protocol.
- "generalised": everything competes. Tag -> clip, each kind of tag searches all clips; clip -> tag, the seen and unseen
  tags are ranked together and each kind's positives looked for among them. `harmonic_map` is the harmonic mean of the
  two mean average precisions (Xian et al. 2017, equation 1, there of accuracies).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from retrieval.evaluation import metrics, ranking
from retrieval.evaluation.bootstrap import CUTOFFS, Intervals, bootstrap

__all__ = ["evaluate", "tag_values"]


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
    """Measure how well scores fit the truth.

    Args:
        scores: [shape=(n_clips, n_tags)], higher where a tag fits better.
        truth: bool [shape=(n_clips, n_tags)].
        tags: names of the columns.
        unseen: those of them that were held out from training; without any, only the part "all" is measured.
        n_bootstrap: resamples for 95% intervals of the tag -> clip measures; 0 leaves them out.
        seed: of the resampling.
        groups: what is resampled as a whole, a name a clip; default: each clip.

    Returns:
        Plain values: {"parts": {"all": {...}, "seen": ..., "unseen": ..., "generalised": ...}, "per_tag": [{...}]}.
        A part has `n_clips`, `n_tags`, `tag_to_clip`, `clip_to_tag`, `undefined` (how many queries each measure leaves
        out) and, with a bootstrap, `intervals`. NaN stands for what is undefined.

    Raises:
        ValueError: shapes at odds, repeated tags, unseen tags that are no column, or not one positive.
    """
    scores, truth = metrics.validate(scores, truth)
    if len(tags) != scores.shape[1] or len(set(tags)) != len(tags):
        raise ValueError(f"{scores.shape[1]} different tags are needed as names of the columns, not {list(tags)[:5]}")
    foreign = sorted(set(unseen) - set(tags))
    if foreign:
        raise ValueError(f"unseen tags that are not measured: {', '.join(foreign[:5])}")
    if not truth.any():
        raise ValueError("no positives: not one clip has one of the tags")
    names = None if groups is None else np.asarray(groups)
    if names is not None and len(names) != len(truth):
        raise ValueError(f"{len(truth)} clips need as many groups, not {len(names)}")

    def resample(part_scores: np.ndarray, part_truth: np.ndarray, rows: np.ndarray) -> Intervals | None:
        if not n_bootstrap:
            return None
        inside = None if names is None else names[rows]
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


def tag_values(scores: np.ndarray, truth: np.ndarray) -> dict[str, np.ndarray]:
    """Every tag -> clip measure of each column, each [shape=(n_tags,)], NaN where undefined."""
    tables = [ranking.rank_table(scores[:, column], truth[:, column]) for column in range(truth.shape[1])]
    precision = metrics.average_precisions(scores, truth)
    return {
        "map": precision,
        "pr_auc": precision,
        "roc_auc": metrics.roc_aucs(scores, truth),
        "precision_at_10": np.array([table.precision_at(10)[0] for table in tables]),
        **{f"recall_at_{k}": np.array([table.recall_at(k)[0] for table in tables]) for k in CUTOFFS},
        **{f"hit_at_{k}": np.array([table.hit_at(k)[0] for table in tables]) for k in CUTOFFS},
        "median_rank": np.array([table.first_rank()[0] for table in tables]),
        "ndcg_at_10": metrics.ndcgs_at(scores, truth, 10),
    }


def _over_queries(values: dict[str, np.ndarray]) -> dict[str, float]:
    means = {name: float(metrics.mean_defined(of_queries)) for name, of_queries in values.items()}
    if "median_rank" in values:
        defined = values["median_rank"][~np.isnan(values["median_rank"])]
        means["median_rank"] = float(np.median(defined)) if len(defined) else float("nan")
    return means


def _clip_values(scores: np.ndarray, truth: np.ndarray) -> dict[str, np.ndarray]:
    tables = [ranking.rank_table(row, known) for row, known in zip(scores, truth, strict=True)]
    return {
        **{f"precision_at_{k}": np.array([table.precision_at(k)[0] for table in tables]) for k in CUTOFFS},
        **{f"recall_at_{k}": np.array([table.recall_at(k)[0] for table in tables]) for k in CUTOFFS},
    }


def _part(scores: np.ndarray, truth: np.ndarray, intervals: Intervals | None) -> dict[str, Any]:
    of_tags, of_clips = tag_values(scores, truth), _clip_values(scores, truth)
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
            "tag_to_clip": _over_queries(tag_values(scores[:, columns], truth[:, columns])) if columns.any() else {},
            "clip_to_tag": _over_queries(_clip_values(scores, looked_for)),
        }
    both = [result[name]["tag_to_clip"].get("map", float("nan")) for name in ("seen", "unseen")]
    result["harmonic_map"] = 2.0 * both[0] * both[1] / (both[0] + both[1])
    return result


def _per_tag(
    scores: np.ndarray, truth: np.ndarray, tags: Sequence[str], held_out: np.ndarray, intervals: Intervals | None
) -> list[dict[str, Any]]:
    of_tags = tag_values(scores, truth)
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
        rows.append(row)
    return rows
