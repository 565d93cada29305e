"""Figures of a model in training on held-out clips, and the calibration of one that is finished."""

from __future__ import annotations

import numpy as np
import torch

from encoders.audio import chunks_of
from encoders.tagger_model import TaggerModel
from encoders.two_tower import TwoTowerModel
from retrieval.datasets.waveforms import WaveformStore
from retrieval.evaluation.protocol import evaluate

__all__ = ["FIGURES", "calibrate", "clip_vectors", "figures", "tagger_scores"]

FIGURES = ("map", "roc_auc", "precision_at_10", "recall_at_10", "ndcg_at_10", "median_rank")
_BATCH_CHUNKS = 32
_NEGATIVES_PER_POSITIVE = 9


def clip_vectors(model: TwoTowerModel, sounds: WaveformStore) -> np.ndarray:
    """Return each clip's mean segment vector, as tagging has it: not of unit length [shape=(n_clips, dim)]."""
    rows = []
    for clip in range(len(sounds)):
        chunks = chunks_of(sounds.waveform(clip), sample_rate_hz=model.sample_rate_hz, chunk_s=model.chunk_s)
        samples = np.stack([chunk.samples for chunk in chunks])
        features = [model.chunk_features(samples[i : i + _BATCH_CHUNKS]) for i in range(0, len(samples), _BATCH_CHUNKS)]
        rows.append(model.segment_vectors(np.concatenate(features)).mean(0))
    return np.stack(rows)


def tagger_scores(model: TaggerModel, sounds: WaveformStore) -> np.ndarray:
    """Return a closed-set tagger's probabilities of each clip's tags [shape=(n_clips, n_tags)]."""
    return np.concatenate([model.tag_audio([sounds.waveform(clip)]) for clip in range(len(sounds))])


def figures(scores: np.ndarray, truth: np.ndarray, tags: tuple[str, ...]) -> dict[str, float]:
    """Return the figures of the validation by name; only tags that some clip has count."""
    there = np.flatnonzero(truth.sum(0))
    found = evaluate(scores[:, there], truth[:, there], [tags[i] for i in there])["parts"]["all"]["tag_to_clip"]
    return {name: float(found[name]) for name in FIGURES}


def calibrate(
    model: TwoTowerModel,
    background: np.ndarray,
    vectors: np.ndarray,
    text: np.ndarray,
    truth: np.ndarray,
    *,
    seed: int,
) -> None:
    """Set the calibration of a finished model; see ``encoders.calibration``.

    Args:
        model: changed in place.
        background: vectors of varied audio [shape=(n_background, dim)].
        vectors: of held-out clips [shape=(n_clips, dim)].
        text: unit vectors of tags [shape=(n_tags, dim)].
        truth: which clip has which tag [shape=(n_clips, n_tags)] bool; of the pairs that have not, nine are drawn for
            each one that has.
        seed: of the drawing.
    """
    from sklearn.linear_model import LogisticRegression

    buffers = model.calibration
    with torch.no_grad():
        buffers.mean.copy_(torch.from_numpy(background.mean(0)))
        buffers.covariance.copy_(torch.from_numpy(np.cov(background.T, bias=True).astype(np.float32)))
        buffers.line.copy_(torch.tensor([1.0, 0.0]))
        z = buffers(torch.from_numpy(vectors).to(model.device), torch.from_numpy(text).to(model.device)).cpu().numpy()
    rng = np.random.default_rng([seed, 4])
    negatives = np.flatnonzero(~truth)
    count = min(len(negatives), _NEGATIVES_PER_POSITIVE * int(truth.sum()))
    pairs = np.concatenate([np.flatnonzero(truth), rng.choice(negatives, size=count, replace=False)])
    if not count or not truth.any():
        return  # the line of a model that was never compared with anything
    line = LogisticRegression(C=1e6).fit(z.ravel()[pairs][:, None], truth.ravel()[pairs])
    # More of a cosine is never less of a tag, however few clips say so.
    slope, offset = max(float(line.coef_[0, 0]), 1e-3), float(line.intercept_[0])
    buffers.line.copy_(torch.tensor([slope, offset]))
