"""What a starting model says of words that are not learnt, held while others are.

Training on a few tags lets a model forget the rest: nothing in the loss speaks of them. So the scores that the
starting model gives each sound for its own other tags are targets too (learning without forgetting: Li and Hoiem, ECCV
2016), and batch norms keep the statistics of the audio and words that they were made with.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from encoders.two_tower import TwoTowerModel
from retrieval.training.batches import near_synonyms
from retrieval.training.text_encoder import PhraseEncoder
from retrieval.training.zero_shot_split import vectors_of

__all__ = ["Kept", "batch_norms", "kept_phrases"]

MIN_PHRASES = 2
SAME = 0.999
"""Phrases of this cosine are one, whatever the threshold: words are kept in 8 bits."""


class Kept:
    """A starting model, to be asked again of every sound that is learnt from.

    Attributes:
        phrases: what is held.
        words: unit vectors as the text tower reads them [shape=(n_phrases, word_dim)].
        text: the starting model's unit vectors of the phrases [shape=(n_phrases, dim)].
        spread: standard deviation of each phrase's scores by the model's calibration, above 0 [shape=(n_phrases,)].
    """

    def __init__(self, model: TwoTowerModel, phrases: dict[str, np.ndarray]) -> None:
        """Take a model as it is, and phrases with their unit vectors [shape=(word_dim,)]."""
        model.eval()
        self.phrases = tuple(phrases)
        self.words = torch.from_numpy(np.stack(list(phrases.values())).astype(np.float32))
        with torch.no_grad():
            text = model.text_tower(self.words.to(model.device)).float()
            variance = torch.einsum("nd,de,ne->n", text, model.calibration.covariance, text)
        self.text, self.spread = text.cpu(), variance.sqrt().clamp_min(1e-6).cpu()
        self._tower = copy.deepcopy(model.audio_tower).requires_grad_(False).eval()

    @torch.no_grad()
    def scores(self, chunks: Tensor, n_clips: int) -> Tensor:
        """Return what the starting model gives sounds [shape=(n_clips, n_phrases)].

        Args:
            chunks: waveforms, those of a clip in order [shape=(n_clips * n_chunks, chunk_samples)].
            n_clips: how many clips these are.
        """
        tower = self._tower.to(chunks.device)
        features = tower.backbone(chunks)
        features = features.reshape(n_clips, -1, features.shape[-1]).mean(1)
        return tower.projection(features).float() @ self.text.to(chunks.device).T

    def drift(self, scores: Tensor, before: Tensor) -> Tensor:
        """Return how far scores have moved, squared, in each phrase's spread: the mean over clips and phrases.

        Args:
            scores: cosines of the batch's clips with the phrases now [shape=(n, n_phrases)].
            before: those of the starting model [shape=(n, n_phrases)].
        """
        return ((scores - before) / self.spread.to(scores.device)).square().mean()


def kept_phrases(
    words: PhraseEncoder, tag_names: Sequence[str], learnt: np.ndarray, *, synonym_cosine: float
) -> dict[str, np.ndarray]:
    """Return a model's own tags that are no near-synonyms of what is learnt, with unit vectors [shape=(word_dim,)].

    Args:
        words: what the text tower reads.
        tag_names: the starting model's.
        learnt: unit vectors of the tags that are learnt [shape=(n_tags, word_dim)].
        synonym_cosine: from which cosine on two phrases are near-synonyms.

    Raises:
        ValueError: fewer than two are left.
    """
    found = vectors_of(words, tag_names)
    both = np.concatenate([learnt, *(vector[None] for vector in found.values())])
    alike = near_synonyms(both, threshold=min(synonym_cosine, SAME))[len(learnt) :, : len(learnt)]
    names = list(found)
    kept = {names[i]: found[names[i]] for i in np.flatnonzero(~alike.any(1))}
    if len(kept) < MIN_PHRASES:
        raise ValueError("--keep: the starting model has no tags beside those that are learnt; leave --keep out")
    return kept


def batch_norms(*parts: nn.Module) -> list[nn.Module]:
    """Return the batch norms in some modules."""
    return [m for part in parts for m in part.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
