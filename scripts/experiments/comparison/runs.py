"""One run of `baseline_vs_retrieval`: budget, plan, training and test."""

from __future__ import annotations

import math
import shutil
import time
from argparse import Namespace
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from encoders.two_tower import TwoTowerModel
from retrieval.datasets.splits import split_by_group
from retrieval.datasets.waveforms import WaveformStore
from retrieval.training.config import BatchConfig, LossConfig, OptimConfig, TrainConfig
from retrieval.training.run import TrainingRun
from retrieval.training.tasks import clip_vectors
from scripts.experiments.comparison.data import Material
from scripts.experiments.comparison.report import BASELINE, metrics_of

__all__ = [
    "BACKBONE",
    "DEVELOPMENT",
    "PUBLISHED",
    "config_of",
    "development_of",
    "epochs_of",
    "objective_of",
    "one_run",
]

BACKBONE, PUBLISHED = "mn04", "efficientat-mn04"
DEVELOPMENT = "development"
_DEVELOPMENT_SHARE, _SPLIT_SEED = 0.2, 0
_WATCHED = ("active_triplets", "collapse", "bank_collapse")


def objective_of(method: str) -> str:
    return "bce" if method == BASELINE else "contrastive"


def development_of(material: Material) -> Material:
    """Return the training clips, with a fifth of their recordings as the test set, to choose learning rates."""
    shares = {"train": 1 - _DEVELOPMENT_SHARE, DEVELOPMENT: _DEVELOPMENT_SHARE}
    divided = split_by_group(material.train, shares, seed=_SPLIT_SEED)
    tests = {DEVELOPMENT: divided.of_split(DEVELOPMENT)}
    return replace(material, train=divided.of_split("train"), tests=tests, unseen=(), removed={})


def epochs_of(method: str, args: Namespace, n_clips: int) -> tuple[int, int]:
    """Return epochs and steps of a run: all runs see the same number of clips, as nearly as whole epochs allow."""
    drawn = BatchConfig(size=args.batch).drawn  # the rest of a contrastive batch are negatives
    steps = args.epochs * math.ceil(n_clips / drawn)
    if method != BASELINE:
        return args.epochs, steps
    an_epoch = math.ceil(n_clips / args.batch)
    epochs = max(1, round(steps / an_epoch))
    return epochs, epochs * an_epoch


def config_of(method: str, seed: int, rate: float, args: Namespace, n_clips: int, out: Path) -> TrainConfig:
    """Return the settings of one run."""
    baseline = method == BASELINE
    return TrainConfig(
        objective=objective_of(method),
        backbone=BACKBONE,
        out=out,
        negatives="random" if baseline else method,
        synonym_cosine=args.synonym_cosine,
        missing_labels="negative",  # a missing instrument label means that the instrument is absent
        init=args.init,
        published=PUBLISHED,
        text=args.text,
        chunk_s=args.clip_s,
        crop_s=args.clip_s,
        freeze_stages=args.freeze_stages,
        batch=BatchConfig(size=args.batch, seed=seed),
        loss=LossConfig(name="bce-with-logits" if baseline else args.loss),
        optim=OptimConfig(
            epochs=epochs_of(method, args, n_clips)[0],
            learning_rate=rate,
            seed=seed,
            mining_warmup=args.mining_warmup,
            device=args.device,
        ),
    )


def tested(run: TrainingRun, material: Material, test: str, sounds: WaveformStore) -> tuple[Any, Any]:
    """Return the metrics of a trained model on a test set, and those of random scores."""
    seen, unseen = material.measured(test)
    truth = material.tests[test].truth([*seen, *unseen])
    if isinstance(run.model, TwoTowerModel):
        scores = clip_vectors(run.model, sounds) @ run.model.encode_text([*seen, *unseen]).T
    else:
        columns = [run.labels.tags.index(tag) for tag in seen]
        scores = run.task.scores(sounds)[:, columns]
    return metrics_of(scores, truth, [*seen, *unseen], unseen)


def one_run(
    method: str,
    seed: int,
    rate: float,
    args: Namespace,
    material: Material,
    *,
    callback: TrainerCallback,
    on_clip: Callable[[int, int], None],
) -> dict[str, Any]:
    """Train and test one model and return its record; the model is not kept."""
    work = args.out / "work"
    for left in work.glob("*"):  # of the run before; the decoded audio serves all
        if left.name != "audio":
            shutil.rmtree(left) if left.is_dir() else left.unlink()
    config = config_of(method, seed, rate, args, len(material.train), work)
    run = TrainingRun(config, material.train, None, on_clip=on_clip, callbacks=[callback])
    began_s, began_cpu_s = time.perf_counter(), time.process_time()
    result = run.run()
    trained_s, cpu_s = time.perf_counter() - began_s, time.process_time() - began_cpu_s
    tests, chances = {}, {}
    for name, clips in material.tests.items():
        sounds = WaveformStore.open(
            clips.clips, work / "audio" / name, sample_rate_hz=run.model.sample_rate_hz, max_clip_s=args.clip_s
        )
        tests[name], chances[name] = tested(run, material, name, sounds)
    watched: dict[str, float | None] = dict.fromkeys(_WATCHED)
    for entry in run.trainer.state.log_history:  # the last one that tells each
        watched |= {key: entry[key] for key in _WATCHED if key in entry}
    clips_seen = result.steps * args.batch
    return {
        "method": method,
        "seed": seed,
        "learning_rate": rate,
        "steps": result.steps,
        "clips_heard": clips_seen,
        "train_s": round(trained_s, 1),
        "train_cpu_s": round(cpu_s, 1),
        "clips_per_s": round(clips_seen / trained_s, 1),
        "training": watched,
        "tests": tests,
        "chance": chances,
    }
