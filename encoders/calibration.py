"""From cosines to probabilities.

Some labels are closer than others to all audio. So a cosine is first standardised by what the same label scores over
a background of varied audio, whose mean and covariance the model stores: z = (a.t - mu.t) / sqrt(t' C t). Then
p = sigmoid(slope * z + offset) (Platt 1999).

A score is a calibrated probability at a prior of one positive in ten (clip, label) pairs, fitted on held-out clips: if
one pair in ten is positive, half of the pairs with p = 0.5 are. Where labels are rarer or more common, p is too high or
too low. The line is fitted on mean vectors of clips; scripts/bench/results/reliability.md measures it on clips of one
segment.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from encoders.arrays import sigmoid

__all__ = ["Calibration", "fit_calibration"]


@dataclass(frozen=True)
class Calibration:
    """The constants of the calibration.

    Attributes:
        mean: of background audio vectors [shape=(dim,)].
        covariance: of background audio vectors [shape=(dim, dim)].
        slope: of the line from z to log-odds.
        offset: of the line from z to log-odds.
    """

    mean: np.ndarray
    covariance: np.ndarray
    slope: float = 1.0
    offset: float = 0.0

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, np.ndarray]) -> Calibration:
        """Return the calibration stored in a model's tensors; KeyError if one is missing."""
        slope, offset = (float(v) for v in tensors["calibration.line"])
        return cls(tensors["calibration.mean"], tensors["calibration.covariance"], slope, offset)

    def z_scores(self, audio: np.ndarray, text: np.ndarray) -> np.ndarray:
        """Return cosines in standard deviations of the background.

        Args:
            audio: unit vectors, or means of unit vectors [shape=(n_audio, dim)].
            text: unit vectors [shape=(n_labels, dim)].

        Returns:
            [shape=(n_audio, n_labels)].
        """
        std = np.sqrt(np.einsum("nd,de,ne->n", text, self.covariance, text))
        return (audio @ text.T - text @ self.mean) / np.maximum(std, 1e-6)

    def logits(self, audio: np.ndarray, text: np.ndarray) -> np.ndarray:
        """Return log-odds [shape=(n_audio, n_labels)]. They are linear in `audio`: means of segments commute."""
        return self.slope * self.z_scores(audio, text) + self.offset

    def probabilities(self, audio: np.ndarray, text: np.ndarray) -> np.ndarray:
        """Return probabilities in [0, 1], float64 [shape=(n_audio, n_labels)]."""
        return sigmoid(self.logits(audio, text))


def fit_calibration(
    background: np.ndarray,
    vectors: np.ndarray,
    text: np.ndarray,
    truth: np.ndarray,
    *,
    seed: int,
    negatives_per_positive: int = 9,
    background_weights: np.ndarray | None = None,
    pair_weights: np.ndarray | None = None,
) -> Calibration:
    """Fit a calibration.

    Args:
        background: vectors of varied audio [shape=(n_background, dim)].
        vectors: mean segment vectors of labelled clips that the model was not trained on [shape=(n_clips, dim)].
        text: unit vectors of tags [shape=(n_tags, dim)].
        truth: which clip has which tag, bool [shape=(n_clips, n_tags)].
        seed: of the draw of negative pairs.
        negatives_per_positive: how many negative pairs are drawn for each positive pair. If there are fewer, they are
            weighted up, so that the ratio holds.
        background_weights: of the background vectors, >= 0 [shape=(n_background,)]; equal by default.
        pair_weights: of the pairs, >= 0 [shape=(n_clips, n_tags)]; pairs of weight 0 are left out; equal by default.

    Returns:
        The calibration. Without a positive or without a negative pair its line is slope 1, offset 0.
    """
    from sklearn.linear_model import LogisticRegression

    shares = np.ones(len(background)) if background_weights is None else background_weights
    shares = shares / shares.sum()
    mean = shares @ background
    centred = background - mean
    covariance = (shares[:, None] * centred).T @ centred
    moments = Calibration(mean.astype(np.float32), covariance.astype(np.float32))
    weights = np.ones(truth.size) if pair_weights is None else pair_weights.ravel().astype(np.float64)
    positives = np.flatnonzero(truth.ravel() & (weights > 0))
    others = np.flatnonzero(~truth.ravel() & (weights > 0))
    count = min(len(others), negatives_per_positive * len(positives))
    if not count:
        return moments
    negatives = np.random.default_rng([seed, 4]).choice(others, size=count, replace=False)
    pairs = np.concatenate([positives, negatives])
    # Both kinds together weigh as many pairs as there are, so that the penalty means the same for any weights.
    sample_weight = weights[pairs]
    n_positives = len(pairs) / (1 + negatives_per_positive)
    sample_weight[: len(positives)] *= n_positives / weights[positives].sum()
    sample_weight[len(positives) :] *= (len(pairs) - n_positives) / weights[negatives].sum()
    z = moments.z_scores(vectors, text).ravel()[pairs][:, None]
    line = LogisticRegression(C=1e6).fit(z, truth.ravel()[pairs], sample_weight=sample_weight)
    # A higher cosine never means a lower probability, however few clips there are.
    slope = max(float(line.coef_[0, 0]), 1e-3)
    return Calibration(moments.mean, moments.covariance, slope, float(line.intercept_[0]))
