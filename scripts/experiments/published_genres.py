"""Compare a published tagger with the default model on genres of real music.

    python -m scripts.experiments.published_genres --data DIR --weights DIR

--data holds the pack emotify with its labels.csv (genre first). --weights holds the MusicNN of Won et al. 2020 on
MTG-Jamendo, won2020_jamendo_musicnn.pth (github.com/minzwon/sota-music-tagging-models). Both models tag every clip as
`retrieve tag` does: the published one by its tags `genre---classical` and so on, the default one by the words alone.

Top-1 is the share of clips whose best label is their genre; mAP is the mean average precision over the four genres. The
last line of output is the result as JSON.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from sklearn.metrics import average_precision_score

from retrieval.datasets.load import read_dataset
from retrieval.tagger import Tagger
from retrieval.tagging import ClosedSetTagger, ZeroShotTagger
from scripts.experiments.comparison.console import log

GENRES = ("classical", "electronic", "pop", "rock")
PUBLISHED = "won2020-jamendo-musicnn"
REPORT_EVERY = 50


def scores_of(tagger: Tagger, files: Sequence[Path], labels: Sequence[str]) -> np.ndarray:
    """Return the probabilities of labels in files [shape=(n_files, n_labels)]."""
    scores = np.empty((len(files), len(labels)))
    for i, file in enumerate(files):
        scores[i] = tagger.scores(file, labels)
        if (i + 1) % REPORT_EVERY == 0:
            log(f"{type(tagger).__name__}: {i + 1} of {len(files)} clips")
    return scores


def metrics(scores: np.ndarray, genres: np.ndarray) -> dict[str, float]:
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
    clips = read_dataset(pack).clips
    files = [clip.path for clip in clips]
    genres = np.array([GENRES.index(clip.labels[0]) for clip in clips])
    checkpoint = args.weights / f"{PUBLISHED.replace('-', '_')}.pth"
    by_default = metrics(scores_of(ZeroShotTagger.open(device=args.device), files, GENRES), genres)
    log(json.dumps({"default": by_default}))
    published = ClosedSetTagger.open(PUBLISHED, checkpoint, device=args.device)
    by_tags = metrics(scores_of(published, files, [f"genre---{genre}" for genre in GENRES]), genres)
    print("| model | top-1 | mAP |\n|---|--:|--:|")
    for name, found in ((PUBLISHED, by_tags), ("default, zero-shot", by_default)):
        print(f"| {name} | {found['top1']:.3f} | {found['mAP']:.3f} |")
    print(
        json.dumps({"experiment": "published_genres", "clips": len(clips), PUBLISHED: by_tags, "default": by_default})
    )


if __name__ == "__main__":
    main()
