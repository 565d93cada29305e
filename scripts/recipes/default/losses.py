"""Losses of the default recipe: functions of scores, in the same standardised form that tagging uses."""

from __future__ import annotations

import numpy as np
from torch import Tensor

__all__ = ["corrected_by_labels", "distillation_loss", "standardised"]


def corrected_by_labels(teacher: np.ndarray, present: np.ndarray, absent: np.ndarray) -> np.ndarray:
    """Return the teacher's scores with what is known put right [shape=(n_clips, n_labels)]: truth outranks a teacher.

    A label that is heard scores at least three spreads above its mean over the clips, one that is known to be absent at
    most the mean; elsewhere the teacher is all there is.

    Args:
        teacher: scores [shape=(n_clips, n_labels)].
        present: the clip has the label [shape=(n_clips, n_labels)].
        absent: the clip is known to lack it, unless ``present`` [shape=(n_clips, n_labels)].
    """
    mean, spread = teacher.mean(0), teacher.std(0)
    corrected = np.where(absent & ~present, np.minimum(teacher, mean), teacher)
    return np.where(present, np.maximum(teacher, mean + 3 * spread), corrected).astype(np.float32)


def standardised(scores: Tensor) -> Tensor:
    """Return each phrase's scores [shape=(n_clips, n_phrases)] with mean 0 and spread 1 over the clips of the batch."""
    centred = scores - scores.mean(0)
    return centred / centred.square().mean(0).add(1e-8).sqrt()


def distillation_loss(student: Tensor, teacher: Tensor, weights: Tensor) -> Tensor:
    """Return 1 - the correlation of student and teacher over the clips, weighted over phrases.

    A correlation leaves scale and offset of each phrase free: search ranks clips for one phrase, and tagging sets a
    phrase's score against its own background.

    Args:
        student: cosines [shape=(n_clips, n_phrases)].
        teacher: composed scores [shape=(n_clips, n_phrases)].
        weights: of the phrases, >= 0 [shape=(n_phrases,)].
    """
    correlation = (standardised(student) * standardised(teacher)).mean(0)
    return ((1 - correlation) * weights).sum() / weights.sum().clamp_min(1e-6)
