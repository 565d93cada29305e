"""Scores of any phrase from classifiers with fixed classes, through word vectors.

A clip's score for a phrase is the mean of its standardised class logits, weighted by softmax(cosine / temperature)
between the phrase's word vector and those of the class names. With several banks of classes, each has weights of its
own, and the score is the sum over the banks. ConSE averages in the other direction: it composes the word vectors of an
image's most probable classes, and compares the result with the phrase.

Source: Norouzi et al., "Zero-shot learning by convex combination of semantic embeddings", ICLR 2014.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

__all__ = ["bank_weights", "class_weights"]

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


def bank_weights(phrases: np.ndarray, banks: Sequence[np.ndarray], *, temperature: float) -> np.ndarray:
    """Return the weights of the classes of all banks, side by side [shape=(n_phrases, n_classes)].

    Args:
        phrases: unit word vectors [shape=(n_phrases, word_dim)].
        banks: unit word vectors of each bank's class names [shape=(n_classes_of_bank, word_dim)].
        temperature: divides the cosines.
    """
    return np.concatenate([class_weights(phrases, bank, temperature=temperature) for bank in banks], axis=1)
