"""What a starting model says of words that are not learnt, held while others are.

Training on a few tags lets a model forget the rest: nothing in the loss speaks of them. So the scores that the starting
model gave each clip for its own other tags are targets too (learning without forgetting: Li and Hoiem, ECCV 2016), and
batch norms keep the statistics of the audio and words that they were made with.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from encoders.model import TwoTowerModel
from retrieval.learning.batches import near_synonyms
from retrieval.learning.phrases import PhraseEncoder
from retrieval.learning.unseen import vectors_of
from retrieval.learning.validation import clip_vectors
from retrieval.learning.waveforms import WaveformStore

__all__ = ["Kept", "batch_norms", "kept_phrases"]

MIN_PHRASES = 2
SAME = 0.999
"""Phrases of this cosine are one, whatever the threshold: words are kept in 8 bits."""


@dataclass(frozen=True)
class Kept:
    """A starting model's scores, as the two factors that they are products of.

    Attributes:
        phrases: what is held.
        words: unit vectors as the text tower reads them [shape=(n_phrases, word_dim)].
        text: the starting model's unit vectors of the phrases [shape=(n_phrases, dim)].
        clips: its unit vectors of whole clips, unchanged by augmentation [shape=(n_clips, dim)].
        spread: standard deviation over the clips of each phrase's scores, above 0 [shape=(n_phrases,)].
    """

    phrases: tuple[str, ...]
    words: Tensor
    text: Tensor
    clips: Tensor
    spread: Tensor

    @classmethod
    def of(cls, model: TwoTowerModel, sounds: WaveformStore, phrases: dict[str, np.ndarray]) -> Kept:
        """Ask a model, as it is, of all clips and phrases (with their unit vectors [shape=(word_dim,)])."""
        model.eval()
        words = torch.from_numpy(np.stack(list(phrases.values())).astype(np.float32))
        clips = torch.from_numpy(clip_vectors(model, sounds))
        clips = nn.functional.normalize(clips, dim=1)
        with torch.no_grad():
            text = model.text_tower(words.to(model.device)).float().cpu()
        spread = (clips @ text.T).std(0, correction=0).clamp_min(1e-4)
        return cls(tuple(phrases), words, text, clips, spread)

    def drift(self, audio: Tensor, text: Tensor, clips: Tensor) -> Tensor:
        """Return how far the scores have moved, squared, in each phrase's spread: the mean over clips and phrases.

        Args:
            audio: unit vectors of the batch's clips now [shape=(n, dim)].
            text: unit vectors of the phrases now [shape=(n_phrases, dim)].
            clips: numbers of the batch's clips [shape=(n,)].
        """
        before = self.clips.to(audio.device)[clips] @ self.text.to(audio.device).T
        return ((audio @ text.T - before) / self.spread.to(audio.device)).square().mean()


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
