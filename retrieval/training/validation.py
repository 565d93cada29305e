"""Metrics of a model in training on held-out clips."""

from __future__ import annotations

import numpy as np

from encoders.embed import embed_audio
from encoders.tagger_model import TaggerModel
from encoders.two_tower import TwoTowerModel
from retrieval.datasets.waveforms import WaveformStore
from retrieval.evaluation.protocol import evaluate

__all__ = ["FIGURES", "clip_vectors", "figures", "tagger_scores"]

FIGURES = ("map", "roc_auc", "precision_at_10", "recall_at_10", "ndcg_at_10", "median_rank")


def clip_vectors(model: TwoTowerModel, sounds: WaveformStore) -> np.ndarray:
    """Return each clip's mean segment vector, as tagging has it: not of unit length [shape=(n_clips, dim)]."""
    clips = (sounds.waveform(clip) for clip in range(len(sounds)))
    return np.stack([embed_audio(clip, model=model).vectors.mean(0) for clip in clips])


def tagger_scores(model: TaggerModel, sounds: WaveformStore) -> np.ndarray:
    """Return a closed-set tagger's probabilities of each clip's tags [shape=(n_clips, n_tags)]."""
    return np.concatenate([model.tag_audio([sounds.waveform(clip)]) for clip in range(len(sounds))])


def figures(scores: np.ndarray, truth: np.ndarray, tags: tuple[str, ...]) -> dict[str, float]:
    """Return the figures of the validation by name; only tags that some clip has count."""
    there = np.flatnonzero(truth.sum(0))
    found = evaluate(scores[:, there], truth[:, there], [tags[i] for i in there])["parts"]["all"]["tag_to_clip"]
    return {name: float(found[name]) for name in FIGURES}
