"""Preserve the scores of the initial model for tags that are not trained on.

Training on a few tags lets a model forget the others. The scores that the initial model gives each crop for its own
other tags therefore become targets too, and batch norms keep their statistics.

Source: learning without forgetting (Li and Hoiem, ECCV 2016).
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from encoders.text.phrases import PhraseEncoder, phrase_vectors
from encoders.two_tower import TwoTowerModel
from retrieval.training.labels import synonym_matrix

__all__ = ["DistillationTarget", "batch_norms", "distilled_phrases"]

_MIN_PHRASES = 2
_SAME_COSINE = 0.999
"""Phrases of this cosine are the same, whatever the threshold: word vectors have 8 bits."""


class DistillationTarget:
    """A frozen copy of the initial audio tower, and the phrases whose scores are preserved.

    Attributes:
        phrases: the phrases.
        text_inputs: unit vectors at the input of the text tower [shape=(n_phrases, input_dim)].
        text: the initial model's unit vectors of the phrases [shape=(n_phrases, dim)].
        std: standard deviation of each phrase's scores over the calibration's background, above 0 [shape=(n_phrases,)].
    """

    def __init__(self, model: TwoTowerModel, phrases: dict[str, np.ndarray]) -> None:
        """Take the initial model, and phrases with their unit vectors [shape=(input_dim,)]."""
        model.eval()
        self.phrases = tuple(phrases)
        self.text_inputs = torch.from_numpy(np.stack(list(phrases.values())).astype(np.float32))
        with torch.no_grad():
            text = model.text_tower(self.text_inputs.to(model.device)).float()
            variance = torch.einsum("nd,de,ne->n", text, model.calibration.covariance, text)
        self.text, self.std = text.cpu(), variance.sqrt().clamp_min(1e-6).cpu()
        self._tower = copy.deepcopy(model.audio_tower).requires_grad_(False).eval()

    @torch.no_grad()
    def scores(self, chunks: Tensor, n_clips: int) -> Tensor:
        """Return the initial model's cosines of crops with the phrases [shape=(n_clips, n_phrases)].

        Args:
            chunks: waveforms, those of a crop in order [shape=(n_clips * n_chunks, chunk_samples)].
            n_clips: number of crops.
        """
        tower = self._tower.to(chunks.device)
        features = tower.chunk_features(chunks)
        vectors = tower.clip_vectors(features.reshape(n_clips, -1, features.shape[-1])).float()
        return nn.functional.normalize(vectors, dim=-1) @ self.text.to(chunks.device).T

    def loss(self, scores: Tensor, targets: Tensor) -> Tensor:
        """Return the mean squared change of the scores, in standard deviations of each phrase.

        Args:
            scores: cosines of the trained model [shape=(n, n_phrases)].
            targets: cosines of the initial model [shape=(n, n_phrases)].
        """
        return ((scores - targets) / self.std.to(scores.device)).square().mean()


def distilled_phrases(
    encoder: PhraseEncoder, tag_names: Sequence[str], trained: np.ndarray, *, synonym_cosine: float
) -> dict[str, np.ndarray]:
    """Return a model's own tags that are not synonyms of trained tags, with unit vectors [shape=(input_dim,)].

    Args:
        encoder: the text tower's input.
        tag_names: the initial model's own tags.
        trained: unit vectors of the tags that are trained on [shape=(n_tags, input_dim)].
        synonym_cosine: cosine from which two tags are synonyms.

    Raises:
        ValueError: fewer than two are left.
    """
    found = phrase_vectors(encoder, tag_names)
    both = np.concatenate([trained, *(vector[None] for vector in found.values())])
    synonyms = synonym_matrix(both, threshold=min(synonym_cosine, _SAME_COSINE))[len(trained) :, : len(trained)]
    names = list(found)
    kept = {names[i]: found[names[i]] for i in np.flatnonzero(~synonyms.any(1))}
    if len(kept) < _MIN_PHRASES:
        raise ValueError("--distill-weight: the initial model has no tags other than the trained ones; leave it out")
    return kept


def batch_norms(*modules: nn.Module) -> list[nn.Module]:
    """Return the batch norms within some modules."""
    return [m for module in modules for m in module.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
