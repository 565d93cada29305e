"""Measure what mined negatives add to a batch that has random ones.

    python -m scripts.experiments.what_negatives_add --data DIR --init FILE --out DIR

Takes the options and the folder of baseline_vs_retrieval (and uses its rendered audio). It trains one model with random
negatives, and lets every kind of negatives compose batches from that model's embeddings. For each kind:

- columns: share of all seen tags in a batch's score matrix;
- hardest_tags_there: share of a clip's eight hardest negative tags among them;
- hardest_tags_by_labels: the same for the labels of the batch's clips alone, without mined tags;
- clip_to_tag, tag_to_clip: mean cosine of the hardest negative of each clip, and of each tag.

The last line of output is the result as JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from typing import Any

import numpy as np

from retrieval.training.batches import BatchMaker
from retrieval.training.labels import LabelTable
from retrieval.training.mining import NEGATIVES, Miner
from retrieval.training.run import TrainingRun
from retrieval.training.tasks import ContrastiveTask
from scripts.experiments.comparison.console import RunProgress, exit_status, log, progress_callback
from scripts.experiments.comparison.data import Material
from scripts.experiments.comparison.options import parse_arguments, prepare
from scripts.experiments.comparison.runs import config_of, epochs_of

HARDEST = 8
BATCHES = 40
SEED, RATE = 0, 3e-3


def trained(args: argparse.Namespace, material: Material) -> tuple[TrainingRun, tuple[np.ndarray, np.ndarray]]:
    """Train with random negatives; return the run and the vectors of its clips and tags."""
    n_clips = len(material.train)
    config = config_of("random", SEED, RATE, args, n_clips, args.out / "negatives")
    callback = RunProgress(epochs_of("random", args, n_clips)[1]).begin("random negatives")
    run = TrainingRun(config, material.train, None, on_clip=progress_callback("decoding"), callbacks=[callback])
    run.run()
    assert isinstance(run.task, ContrastiveTask)
    assert run.task.bank is not None
    return run, (run.task.bank.clips, run.task.module.tag_vectors())


def metrics_of(maker: BatchMaker, labels: LabelTable, vectors: tuple[np.ndarray, np.ndarray]) -> dict[str, float]:
    """Return the means over a maker's batches."""
    clips, tags = vectors
    found: dict[str, list[float]] = {}
    for number in range(BATCHES):
        batch = maker.make(1000, number, vectors)
        there = np.zeros(len(labels.tags), bool)
        there[batch.tags] = True
        named = labels.has_tag[batch.clips].any(0)
        scores = clips[batch.clips] @ tags[batch.tags].T
        negative = (batch.targets + batch.unknown == 0)[:, batch.tags]
        scores = np.where(negative, scores, np.nan)
        row = {"columns": there.mean()}
        of_all = np.where(labels.excluded[batch.clips], -np.inf, clips[batch.clips] @ tags.T)
        near = [
            order[: min(HARDEST, np.isfinite(of_clip).sum())]
            for order, of_clip in zip(np.argsort(-of_all), of_all, strict=True)
        ]
        row["hardest_tags_there"] = np.mean([there[some].mean() for some in near])
        row["hardest_tags_by_labels"] = np.mean([named[some].mean() for some in near])
        row["clip_to_tag"] = np.nanmean(np.nanmax(scores[negative.any(1)], 1))
        row["tag_to_clip"] = np.nanmean(np.nanmax(scores[:, negative.any(0)], 0))
        for name, value in row.items():
            found.setdefault(name, []).append(float(value))
    return {name: round(float(np.mean(values)), 4) for name, values in found.items()}


def measured(args: argparse.Namespace) -> dict[str, Any]:
    material, _ = prepare(args)
    finished, vectors = trained(args, material)
    settings = replace(finished.config.batch, seed=SEED + 1)
    kinds = {}
    for kind in NEGATIVES:
        miner = Miner(kind, finished.labels.has_tag, finished.labels.excluded, finished.config.loss.margin)
        maker = BatchMaker(settings, finished.labels, finished.trainer.batches.maker.sounds, miner=miner)
        kinds[kind] = metrics_of(maker, finished.labels, vectors)
        log(f"{kind}: {json.dumps(kinds[kind])}")
    return {
        "experiment": "what_negatives_add",
        "batches": BATCHES,
        "clips": settings.size,
        "tags": len(finished.labels.tags),
        "kinds": kinds,
    }


def run(args: argparse.Namespace) -> None:
    result = measured(args)
    (args.out / "what_negatives_add.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(result))


def main() -> int:
    args = parse_arguments(__doc__)
    return exit_status("what_negatives_add", lambda: run(args))


if __name__ == "__main__":
    sys.exit(main())
