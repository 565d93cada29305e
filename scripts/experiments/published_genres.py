"""Genres of real music by a published tagger's own tags, beside the default model's; one JSON line at the end.

    python -m scripts.experiments.published_genres --data DIR --weights DIR

DIR of data holds the pack ``emotify`` with its ``labels.csv`` (``file,labels,...``, the genre first), DIR of weights
the MusicNN of Won et al. 2020 on MTG-Jamendo, ``won2020_jamendo_musicnn.pth``
(github.com/minzwon/sota-music-tagging-models). Both models judge every clip as ``retrieve tag`` does: the published one
by its tags ``genre---classical`` and so on, the default one by the bare words.

Top-1 is the share of clips whose best of the four is their genre; mAP is the mean over genres of the average
precision of clips in the order of their scores.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from sklearn.metrics import average_precision_score

from retrieval.tagging import ClosedSetTagger, Tagger, ZeroShotTagger

GENRES = ("classical", "electronic", "pop", "rock")
PUBLISHED = "won2020-jamendo-musicnn"
REPORT_EVERY = 50


def scores_of(tagger: Tagger, files: Sequence[Path], labels: Sequence[str]) -> np.ndarray:
    """Return the probabilities of labels in files [shape=(n_files, n_labels)]."""
    scores = np.empty((len(files), len(labels)))
    for i, file in enumerate(files):
        scores[i] = tagger.scores(file, labels)
        if (i + 1) % REPORT_EVERY == 0:
            print(f"{type(tagger).__name__}: {i + 1} of {len(files)} clips", file=sys.stderr, flush=True)
    return scores


def figures(scores: np.ndarray, genres: np.ndarray) -> dict[str, float]:
    """Return top-1 and mAP of scores [shape=(n_clips, 4)] for the clips' genres [shape=(n_clips,)]."""
    precisions = [average_precision_score(genres == j, scores[:, j]) for j in range(len(GENRES))]
    return {
        "top1": round(float((scores.argmax(1) == genres).mean()), 4),
        "mAP": round(float(np.mean(precisions)), 4),
        **{f"AP_{genre}": round(float(value), 4) for genre, value in zip(GENRES, precisions, strict=True)},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of packs")
    parser.add_argument("--weights", type=Path, required=True, help="folder of published checkpoints")
    parser.add_argument("--device", default="auto", help="a torch device (default: %(default)s)")
    args = parser.parse_args()
    pack = args.data / "emotify"
    with (pack / "labels.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    files = [pack / row["file"] for row in rows]
    genres = np.array([GENRES.index(row["labels"].split(";")[0]) for row in rows])
    checkpoint = args.weights / f"{PUBLISHED.replace('-', '_')}.pth"
    by_default = figures(scores_of(ZeroShotTagger.open(device=args.device), files, GENRES), genres)
    print(json.dumps({"default": by_default}), file=sys.stderr, flush=True)
    published = ClosedSetTagger.open(PUBLISHED, checkpoint, device=args.device)
    by_tags = figures(scores_of(published, files, [f"genre---{genre}" for genre in GENRES]), genres)
    print("| model | top-1 | mAP |\n|---|--:|--:|")
    for name, found in ((PUBLISHED, by_tags), ("default, zero-shot", by_default)):
        print(f"| {name} | {found['top1']:.3f} | {found['mAP']:.3f} |")
    print(json.dumps({"experiment": "published_genres", "clips": len(rows), PUBLISHED: by_tags, "default": by_default}))


if __name__ == "__main__":
    main()
