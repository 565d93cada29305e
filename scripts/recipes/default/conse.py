"""Scores of any phrase from classifiers with fixed classes, through word vectors.

A clip's score for a phrase is the mean of its standardised class logits, weighted by softmax(cosine / temperature)
between the phrase's word vector and those of the class names. Classes whose teacher did not process the clip have no
weight. ConSE averages in the other direction: it composes the word vectors of an image's most probable classes, and
compares the result with the phrase.

Source: Norouzi et al., "Zero-shot learning by convex combination of semantic embeddings", ICLR 2014.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["TeacherTargets", "class_weights", "conse_scores"]

TEMPERATURE = 0.05


def class_weights(phrases: np.ndarray, classes: np.ndarray, *, temperature: float = TEMPERATURE) -> np.ndarray:
    """Return the softmax weights of classes for phrases.

    Args:
        phrases: unit word vectors [shape=(n_phrases, word_dim)].
        classes: unit word vectors of the class names [shape=(n_classes, word_dim)].
        temperature: divides the cosines.

    Returns:
        Weights, each row with the sum 1, float32 [shape=(n_phrases, n_classes)].
    """
    cosines = phrases @ classes.T / temperature
    weights = np.exp(cosines - cosines.max(1, keepdims=True))
    return (weights / weights.sum(1, keepdims=True)).astype(np.float32)


def conse_scores(z: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the scores of phrases for clips [shape=(n_clips, n_phrases)].

    Args:
        z: standardised logits, NaN where unknown [shape=(n_clips, n_classes)].
        weights: of `class_weights` [shape=(n_phrases, n_classes)].
    """
    known = np.isfinite(z)
    total = np.where(known, z, 0) @ weights.T
    return total / np.maximum(known.astype(np.float32) @ weights.T, 1e-3)


@dataclass(frozen=True)
class TeacherTargets:
    """What the student is distilled from.

    Attributes:
        z: standardised teacher logits, NaN where unknown [shape=(n_clips, n_classes)].
        class_vectors: unit word vectors of the class names [shape=(n_classes, word_dim)].
    """

    z: np.ndarray
    class_vectors: np.ndarray
