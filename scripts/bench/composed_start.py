"""The AudioSet tagger composed through word vectors, with no training: what a model has to beat.

A clip's score for a name is the mean of the tagger's standardised logits, weighted by softmax(cosine / 0.05) between
the name and the tagger's 527 class names (after ConSE, Norouzi et al., ICLR 2014).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from encoders.backbones.published import load_published, published_tags
from encoders.embed import map_chunks
from encoders.tagger import TaggerNetwork
from encoders.text.tower import TextEncoder, UnknownWordsError
from scripts.recipes.default.conse import class_weights

__all__ = ["ComposedStart"]

_TAGGER = "efficientat-mn04"
_CHUNK_S = 5.0


class ComposedStart:
    """Scores names for clips.

    Args:
        weights: the published checkpoint of EfficientAT mn04.
        text: its word vectors are taken.
    """

    name = "composed start"

    def __init__(self, weights: Path, text: TextEncoder) -> None:
        network = load_published(_TAGGER, weights)
        assert isinstance(network, TaggerNetwork)
        self._backbone, self._head = network.backbone.inference_copy(), network.head.eval()
        self._text = text
        self._classes = text.phrase_vectors(published_tags(_TAGGER) or ())

    @torch.inference_mode()
    def features(self, paths: Sequence[Path]) -> np.ndarray:
        """Return the tagger's logits of clips [shape=(n_clips, 527)]."""
        rate_hz = self._backbone.sample_rate_hz
        logits = []
        for path in paths:
            features, _, _ = map_chunks(
                path,
                lambda chunks: self._backbone(torch.from_numpy(chunks)).numpy(),
                sample_rate_hz=rate_hz,
                chunk_s=_CHUNK_S,
            )
            logits.append(self._head(torch.from_numpy(features.mean(axis=0, keepdims=True))).numpy()[0])
        return np.stack(logits)

    def scores(self, logits: np.ndarray, names: Sequence[str], *, background: np.ndarray) -> np.ndarray:
        """Return scores [shape=(n_clips, n_names)], NaN for a name without a known word.

        Args:
            logits: of `features`.
            names: of classes.
            background: logits of varied clips, by whose mean and deviation logits are standardised [shape=(n, 527)].
        """
        z = (logits - background.mean(axis=0)) / np.maximum(background.std(axis=0), 1e-6)
        scores = np.full((len(logits), len(names)), np.nan)
        for column, name in enumerate(names):
            try:
                vector = self._text.phrase_vectors([name])
            except UnknownWordsError:
                continue
            scores[:, column] = (z @ class_weights(vector, self._classes).T)[:, 0]
        return scores
