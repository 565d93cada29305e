"""What the teachers say of a phrase that none of them was trained on: their classes, composed through word vectors.

A clip's score for a phrase is the mean of its standardised class logits, weighted by softmax(cosine / temperature) of
the phrase's word vector against the class names'. A class whose teacher did not listen to the clip weighs nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["Teaching", "class_weights", "compose", "standardise"]

TEMPERATURE = 0.05


def standardise(logits: np.ndarray) -> np.ndarray:
    """Return logits [shape=(n_clips, n_classes)], each class with mean 0 and spread 1 over the clips that it heard."""
    mean, spread = np.nanmean(logits, 0), np.nanstd(logits, 0)
    return ((logits - mean) / np.maximum(spread, 1e-6)).astype(np.float32)


def class_weights(phrases: np.ndarray, classes: np.ndarray, *, temperature: float = TEMPERATURE) -> np.ndarray:
    """Return softmax weights [shape=(n_phrases, n_classes)] from unit word vectors of phrases and class names."""
    cosines = phrases @ classes.T / temperature
    weights = np.exp(cosines - cosines.max(1, keepdims=True))
    return (weights / weights.sum(1, keepdims=True)).astype(np.float32)


def compose(z: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return clip-phrase scores [shape=(n_clips, n_phrases)] from z [shape=(n_clips, n_classes)], NaN where unheard."""
    heard = np.isfinite(z)
    total = np.where(heard, z, 0) @ weights.T
    return total / np.maximum(heard.astype(np.float32) @ weights.T, 1e-3)


@dataclass(frozen=True)
class Teaching:
    """The teachers' standardised logits ``z`` [shape=(n_clips, n_classes)] and their class names' word vectors."""

    z: np.ndarray
    class_vectors: np.ndarray

    def scores(self, clips: np.ndarray, phrases: np.ndarray) -> np.ndarray:
        """Return composed scores [shape=(n_clips, n_phrases)] of clip rows for unit word vectors."""
        return compose(self.z[clips], class_weights(phrases, self.class_vectors))
