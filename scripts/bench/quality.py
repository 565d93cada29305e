"""Quality of a model on labelled audio that it was not trained on, by the finished commands; one JSON line at the end.

    python -m scripts.bench.quality --data DIR [--model DIR]

DIR holds one folder a pack with ``labels.csv`` (``file,labels[,split]``): ``instruments_freesound``, ``esc`` (its
fold 5 over all 18 labels) and ``emotify`` (its four genres). Labels are used as they stand.
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from sklearn.metrics import average_precision_score

GENRES = ["classical", "electronic", "pop", "rock"]


def rows_of(pack: Path) -> list[dict[str, str]]:
    with (pack / "labels.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def retrieve(*arguments: str) -> str:
    """Run the command and return what it printed; its own error message is shown if it fails."""
    return subprocess.run(
        [sys.executable, "-m", "retrieval", *arguments], check=True, stdout=subprocess.PIPE, text=True
    ).stdout


def zero_shot(pack: Path, rows: list[dict[str, str]], labels: list[str], model: list[str]) -> dict[str, float]:
    """Tag every clip with all labels; return mAP over labels, top-1 and the number of clips."""
    with tempfile.TemporaryDirectory() as folder:
        names = Path(folder) / "labels.txt"
        names.write_text("\n".join(labels) + "\n", encoding="utf-8")
        files = [str(pack / row["file"]) for row in rows]
        answer = retrieve("tag", *files, "--labels-file", str(names), "--top", str(len(labels)), "--json", *model)
    scores = np.zeros((len(rows), len(labels)))
    top1 = 0
    for i, line in enumerate(answer.splitlines()):
        tags = json.loads(line)["tags"]
        top1 += tags[0]["tag"] == rows[i]["labels"].split(";")[0]
        for tag in tags:
            scores[i, labels.index(tag["tag"])] = tag["score"]
    truth = np.array([[row["labels"].split(";")[0] == label for label in labels] for row in rows])
    precisions = [average_precision_score(truth[:, j], scores[:, j]) for j in range(len(labels)) if truth[:, j].any()]
    return {
        "mAP": round(float(np.mean(precisions)), 4),
        "top1": round(top1 / len(rows), 4),
        "clips": len(rows),
    }


def precision_at_10(pack: Path, rows: list[dict[str, str]], labels: list[str], model: list[str]) -> float:
    """Build an index of the pack, search each label, return the mean share of right clips among the first ten."""
    truth = {str((pack / row["file"]).resolve()): row["labels"] for row in rows}
    with tempfile.TemporaryDirectory() as folder:
        index = str(Path(folder) / "index")
        retrieve("index", "build", str(pack.resolve()), "--index", index, *model)
        precisions = []
        for label in labels:
            hits = [
                json.loads(line) for line in retrieve("search", label, "--index", index, "--json", *model).splitlines()
            ]
            precisions.append(np.mean([truth[str(Path(hit["path"]).resolve())] == label for hit in hits[:10]]))
    return round(float(np.mean(precisions)), 4)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of packs")
    parser.add_argument("--model", type=Path, help="model directory (default: the one in the package)")
    args = parser.parse_args()
    model = ["--model", str(args.model)] if args.model else []
    instruments = args.data / "instruments_freesound"
    rows = rows_of(instruments)
    names = sorted({row["labels"] for row in rows})
    figures: dict[str, object] = {"instruments_freesound": zero_shot(instruments, rows, names, model)}
    print(json.dumps(figures), file=sys.stderr, flush=True)
    figures["retrieval_precision_at_10"] = precision_at_10(instruments, rows, names, model)
    esc_rows = rows_of(args.data / "esc")
    esc_names = sorted({row["labels"] for row in esc_rows})
    fold5 = [row for row in esc_rows if row["split"] == "fold5"]
    figures["esc_fold5"] = zero_shot(args.data / "esc", fold5, esc_names, model)
    figures["emotify_genres"] = zero_shot(args.data / "emotify", rows_of(args.data / "emotify"), GENRES, model)
    print(json.dumps({"bench": "quality", "model": str(args.model or "default"), **figures}))


if __name__ == "__main__":
    main()
