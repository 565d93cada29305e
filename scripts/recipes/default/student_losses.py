"""Losses of the default recipe, as functions of scores that are standardised as in tagging."""

from __future__ import annotations

import numpy as np
from torch import Tensor

__all__ = ["corrected_by_labels", "distillation_loss", "standardised"]


def corrected_by_labels(teacher: np.ndarray, present: np.ndarray, absent: np.ndarray) -> np.ndarray:
    """Return the teacher's scores, corrected by known labels [shape=(n_clips, n_labels)].

    A present label scores at least three standard deviations above its mean over the clips, an absent one at most its
    mean. Unknown ones keep the teacher's score.

    Args:
        teacher: scores [shape=(n_clips, n_labels)].
        present: the clip has the label [shape=(n_clips, n_labels)].
        absent: the clip lacks it, unless `present` [shape=(n_clips, n_labels)].
    """
    mean, std = teacher.mean(0), teacher.std(0)
    corrected = np.where(absent & ~present, np.minimum(teacher, mean), teacher)
    return np.where(present, np.maximum(teacher, mean + 3 * std), corrected).astype(np.float32)


def standardised(scores: Tensor) -> Tensor:
    """Return scores with mean 0 and standard deviation 1 over the clips of the batch [shape=(n_clips, n_phrases)]."""
    centred = scores - scores.mean(0)
    return centred / centred.square().mean(0).add(1e-8).sqrt()


def distillation_loss(student: Tensor, teacher: Tensor, weights: Tensor) -> Tensor:
    """Return 1 - the correlation of student and teacher over the clips, weighted over phrases.

    A correlation ignores scale and offset of each phrase: search ranks clips for one phrase, and tagging compares a
    score with the phrase's own background.

    Args:
        student: cosines [shape=(n_clips, n_phrases)].
        teacher: ConSE scores [shape=(n_clips, n_phrases)].
        weights: weights of the phrases, >= 0 [shape=(n_phrases,)].
    """
    correlation = (standardised(student) * standardised(teacher)).mean(0)
    return ((1 - correlation) * weights).sum() / weights.sum().clamp_min(1e-6)
