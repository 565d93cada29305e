"""Reliability of tag scores on labelled audio that the model was not trained on.

    python -m scripts.bench.reliability --data DIR [--model DIR] [--plot FILE.png]

DIR has one folder per pack with `labels.csv` (`file,labels[,split]`): `instruments_freesound`, `esc` (fold 5, all 18
labels), `emotify` (its four genres) and `fourq_dev` (column `genres`, those of five clips or more). Every label is
scored for every clip. Scores are probabilities at a prior of one positive in ten (clip, label) pairs, so pairs are
weighted until the positive ones are a tenth of the pack.

Prints a Markdown table with, for each bin of the score, the share of pairs that are positive at that prior and the
number of pairs, and the expected calibration error (ECE: the mean of |mean score - positive share| over bins, weighted
by their pairs; Naeini et al. 2015); then one JSON line. The plot has one panel per pack.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from retrieval.tagger import Tagger
from retrieval.tagging import open_tagger

PRIOR = 0.1
N_BINS = 10
TrueLabels = Callable[[Mapping[str, str]], list[str]]
GENRES = ("classical", "electronic", "pop", "rock")


@dataclass(frozen=True)
class Reliability:
    """Reliability of one pack; arrays are [shape=(N_BINS,)], NaN for a bin without pairs.

    Attributes:
        clips: number of clips.
        segments: mean number of segments per clip.
        pairs: number of pairs in each bin.
        score: mean score of each bin, weighted.
        positive: share of positive pairs of each bin at `PRIOR`.
        ece: expected calibration error.
    """

    clips: int
    segments: float
    pairs: np.ndarray
    score: np.ndarray
    positive: np.ndarray
    ece: float

    def to_dict(self) -> dict[str, object]:
        """Return plain values for JSON."""
        bins = [
            {"pairs": int(n), "score": round(float(p), 4), "positive": round(float(share), 4)} if n else {"pairs": 0}
            for n, p, share in zip(self.pairs, self.score, self.positive, strict=True)
        ]
        return {"clips": self.clips, "segments": round(self.segments, 2), "ece": round(self.ece, 4), "bins": bins}


def reliability(scores: np.ndarray, truth: np.ndarray, *, segments: float = 1.0) -> Reliability:
    """Bin scores and count positives at `PRIOR`.

    Args:
        scores: probabilities [shape=(n_clips, n_labels)].
        truth: bool [shape=(n_clips, n_labels)].
        segments: mean number of segments per clip, for the report.

    Raises:
        ValueError: there is no positive or no negative pair.
    """
    p, positive = scores.ravel(), truth.ravel()
    if positive.all() or not positive.any():
        raise ValueError("reliability needs positive and negative pairs")
    weight = np.where(positive, PRIOR / positive.sum(), (1 - PRIOR) / (~positive).sum())
    at = np.minimum((p * N_BINS).astype(int), N_BINS - 1)
    total = np.bincount(at, weight, N_BINS)
    with np.errstate(invalid="ignore"):
        score = np.bincount(at, weight * p, N_BINS) / total
        share = np.bincount(at, weight * positive, N_BINS) / total
    ece = float(np.nansum(total * np.abs(score - share)))
    return Reliability(len(scores), segments, np.bincount(at, minlength=N_BINS), score, share, ece)


def first_label(row: Mapping[str, str]) -> list[str]:
    """Return the first label of a clip, which alone is true where the others are moods."""
    return row["labels"].split(";")[:1]


def genres(row: Mapping[str, str]) -> list[str]:
    """Return the genres of a song."""
    return [name for name in row["genres"].split(";") if name]


def measure(
    tagger: Tagger, pack: Path, labels: Sequence[str], *, split: str | None = None, true: TrueLabels = first_label
) -> Reliability:
    """Score every label for every clip of a pack that has one of them."""
    with (pack / "labels.csv").open(encoding="utf-8", newline="") as file:
        listed = [row for row in csv.DictReader(file) if split is None or row["split"] == split]
    rows = [row for row in listed if set(true(row)) & set(labels)]
    scores, n_segments = [], 0
    for row in rows:
        found = tagger.tag(pack / row["file"], labels, top=len(labels))
        score_of = {tag.tag: tag.score for tag in found.tags}
        scores.append([score_of[label] for label in labels])
        n_segments += len(found.spans_s)
    truth = [[label in true(row) for label in labels] for row in rows]
    return reliability(np.array(scores), np.array(truth), segments=n_segments / len(rows))


def markdown(packs: dict[str, Reliability]) -> str:
    """Return a table with one row per bin and one column per pack."""
    lines = ["| score | " + " | ".join(packs) + " |", "|---|" + "--:|" * len(packs)]
    for i in range(N_BINS):
        cells = [f"{pack.positive[i]:.2f} ({pack.pairs[i]})" if pack.pairs[i] else "– (0)" for pack in packs.values()]
        lines.append(f"| {i / N_BINS:.1f}-{(i + 1) / N_BINS:.1f} | " + " | ".join(cells) + " |")
    lines.append("| ECE | " + " | ".join(f"{pack.ece:.3f}" for pack in packs.values()) + " |")
    return "\n".join(lines)


def plot(path: Path, packs: dict[str, Reliability]) -> None:
    """Plot positive share against mean score, and the number of pairs below, one panel per pack."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.2 * len(packs), 4.8), dpi=120, layout="constrained")
    axes = figure.subplots(2, len(packs), squeeze=False, sharex=True, height_ratios=[3, 1])
    edges = np.linspace(0, 1, N_BINS + 1)
    for (upper, lower), (name, pack) in zip(axes.T, packs.items(), strict=True):
        there = pack.pairs > 0
        upper.plot([0, 1], [0, 1], color="tab:gray", linestyle="--", linewidth=1, label="perfect")
        upper.plot(pack.score[there], pack.positive[there], marker="o", label=f"ECE {pack.ece:.3f}")
        upper.set(title=f"{name} ({pack.clips} clips)", xlim=(0, 1), ylim=(0, 1))
        upper.legend(loc="upper left")
        lower.bar(edges[:-1], pack.pairs, width=1 / N_BINS, align="edge", edgecolor="white")
        lower.set(yscale="log", ylim=(1, None), xlabel="score")
    axes[0, 0].set_ylabel(f"positive share at a prior of {PRIOR:g}")
    axes[1, 0].set_ylabel("pairs")
    figure.savefig(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of packs")
    parser.add_argument("--model", type=Path, help="model directory (default: the shipped model)")
    parser.add_argument("--plot", type=Path, metavar="FILE.png", help="write the plot")
    args = parser.parse_args()
    tagger = open_tagger(args.model)

    def labels_of(pack: str, true: TrueLabels = first_label, *, at_least: int = 1) -> list[str]:
        with (args.data / pack / "labels.csv").open(encoding="utf-8", newline="") as file:
            counts = Counter(name for row in csv.DictReader(file) for name in true(row))
        return sorted(name for name, count in counts.items() if count >= at_least)

    packs: dict[str, Reliability] = {}
    for pack, labels, split, true in (
        ("instruments_freesound", labels_of("instruments_freesound"), None, first_label),
        ("esc", labels_of("esc"), "fold5", first_label),
        ("emotify", list(GENRES), None, first_label),
        ("fourq_dev", labels_of("fourq_dev", genres, at_least=5), None, genres),
    ):
        name = pack if split is None else f"{pack} {split}"
        packs[name] = measure(tagger, args.data / pack, labels, split=split, true=true)
        print(json.dumps({name: packs[name].to_dict()}), file=sys.stderr, flush=True)
    if args.plot:
        plot(args.plot, packs)
    print(markdown(packs))
    results = {name: pack.to_dict() for name, pack in packs.items()}
    print(json.dumps({"bench": "reliability", "model": str(args.model or "default"), "prior": PRIOR, **results}))


if __name__ == "__main__":
    main()
