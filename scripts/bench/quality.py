"""Measure a model on labelled audio that it was not trained on, through the commands.

    python -m scripts.bench.quality --data DIR [--model DIR]

DIR has one folder per pack with labels.csv (`file,labels[,split]`): instruments_freesound, esc (fold 5, all 18 labels)
and emotify (its four genres). Label names are used as they are; a clip's first label is the true one. The last line of
output is the result as JSON.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from retrieval.datasets.base import TaggedClip
from retrieval.datasets.load import read_dataset
from retrieval.evaluation.protocol import evaluate

GENRES = ("classical", "electronic", "pop", "rock")


def retrieve(*arguments: str) -> str:
    """Run the command and return its stdout. Its error message appears on stderr.

    Raises:
        subprocess.CalledProcessError: the command failed.
    """
    return subprocess.run(
        [sys.executable, "-m", "retrieval", *arguments], check=True, stdout=subprocess.PIPE, text=True
    ).stdout


def zero_shot(clips: Sequence[TaggedClip], labels: Sequence[str], model: list[str]) -> dict[str, float]:
    """Tag every clip with all labels; return mAP over labels, top-1 accuracy and the number of clips."""
    with tempfile.TemporaryDirectory() as folder:
        names = Path(folder) / "labels.txt"
        names.write_text("\n".join(labels) + "\n", encoding="utf-8")
        files = [str(clip.path) for clip in clips]
        answer = retrieve("tag", *files, "--labels-file", str(names), "--top", str(len(labels)), "--json", *model)
    tags = [json.loads(line)["tags"] for line in answer.splitlines()]
    score_of = [{tag["tag"]: tag["score"] for tag in of_clip} for of_clip in tags]
    scores = np.array([[of_clip[label] for label in labels] for of_clip in score_of])
    truth = np.array([[clip.labels[0] == label for label in labels] for clip in clips])
    right = [of_clip[0]["tag"] == clip.labels[0] for of_clip, clip in zip(tags, clips, strict=True)]
    return {
        "mAP": round(evaluate(scores, truth, labels)["parts"]["all"]["tag_to_clip"]["map"], 4),
        "top1": round(float(np.mean(right)), 4),
        "clips": len(clips),
    }


def precision_at_10(pack: Path, clips: Sequence[TaggedClip], labels: Sequence[str], model: list[str]) -> float:
    """Index a pack and search each label; return the mean share of right clips among the first ten hits."""
    truth = {clip.path.resolve(): clip.labels[0] for clip in clips}
    with tempfile.TemporaryDirectory() as folder:
        index = str(Path(folder) / "index")
        retrieve("index", "build", str(pack.resolve()), "--index", index, *model)
        precisions = []
        for label in labels:
            lines = retrieve("search", label, "--index", index, "--json", *model).splitlines()
            paths = [Path(json.loads(line)["path"]).resolve() for line in lines[:10]]
            precisions.append(np.mean([truth[path] == label for path in paths]))
    return round(float(np.mean(precisions)), 4)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of packs")
    parser.add_argument("--model", type=Path, help="model directory (default: the shipped model)")
    args = parser.parse_args()
    model = ["--model", str(args.model)] if args.model else []
    instruments = args.data / "instruments_freesound"
    clips = read_dataset(instruments)
    result: dict[str, object] = {"instruments_freesound": zero_shot(clips.clips, clips.tags, model)}
    print(json.dumps(result), file=sys.stderr, flush=True)
    result["retrieval_precision_at_10"] = precision_at_10(instruments, clips.clips, clips.tags, model)
    esc = read_dataset(args.data / "esc")
    result["esc_fold5"] = zero_shot(esc.of_split("fold5").clips, esc.tags, model)
    result["emotify_genres"] = zero_shot(read_dataset(args.data / "emotify").clips, GENRES, model)
    print(json.dumps({"bench": "quality", "model": str(args.model or "default"), **result}))


if __name__ == "__main__":
    main()
