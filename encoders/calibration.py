"""From cosines to probabilities.

Some labels lie nearer to all audio than others. So a cosine is first set against what the same label gets over a
background of varied audio, whose mean and covariance the model keeps: z = (a.t - mu.t) / sqrt(t' C t). Then
p = sigmoid(slope * z + offset), fitted on labelled clips that the model was not trained on (Platt 1999). The model card
says on which; 0.5 is where half of such (clip, label) pairs carry the label.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

__all__ = ["Calibration"]


@dataclass(frozen=True)
class Calibration:
    """``mean`` [shape=(dim,)] and ``covariance`` [shape=(dim, dim)] of background audio; ``slope``, ``offset`` of z."""

    mean: np.ndarray
    covariance: np.ndarray
    slope: float
    offset: float

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, np.ndarray]) -> Calibration:
        """Take the calibration out of a model's tensors; KeyError where one is missing."""
        slope, offset = (float(v) for v in tensors["calibration.line"])
        return cls(tensors["calibration.mean"], tensors["calibration.covariance"], slope, offset)

    @classmethod
    def load(cls, model_dir: Path) -> Calibration:
        """Load a model directory's calibration; ModelDirError where the model is damaged."""
        from encoders.text.tower import TextEncoder

        return TextEncoder.load(model_dir).calibration

    def z_scores(self, audio: np.ndarray, text: np.ndarray) -> np.ndarray:
        """Return how far each cosine stands out of the background, in its standard deviations.

        Args:
            audio: unit vectors, or means of unit vectors [shape=(n_audio, dim)].
            text: unit vectors [shape=(n_labels, dim)].

        Returns:
            [shape=(n_audio, n_labels)].
        """
        spread = np.sqrt(np.einsum("nd,de,ne->n", text, self.covariance, text))
        return (audio @ text.T - text @ self.mean) / np.maximum(spread, 1e-6)

    def logits(self, audio: np.ndarray, text: np.ndarray) -> np.ndarray:
        """Return log-odds [shape=(n_audio, n_labels)]; segments' mean logit is their mean vector's."""
        return self.slope * self.z_scores(audio, text) + self.offset

    def probabilities(self, audio: np.ndarray, text: np.ndarray) -> np.ndarray:
        """Return probabilities in (0, 1) [shape=(n_audio, n_labels)]."""
        logits = self.logits(audio, text).astype(np.float64)
        return 1 / (1 + np.exp(-np.clip(logits, -40, 40)))
