"""Phrases for training the text tower: names of sounds, and other words that queries may contain."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from encoders.text.word_vectors import WordVectors
from scripts.recipes.default.corpus import Corpus

__all__ = ["PhraseBook", "make_phrase_book"]


@dataclass(frozen=True)
class PhraseBook:
    """Training phrases.

    Attributes:
        phrases: n distinct phrases.
        vectors: their unit word vectors [shape=(n, word_dim)].
        share: the probability with which each is drawn [shape=(n,)], summing to 1.
    """

    phrases: list[str]
    vectors: np.ndarray
    share: np.ndarray


def make_phrase_book(
    corpus: Corpus,
    word_vectors: WordVectors,
    *,
    names: Sequence[str],
    extra: Sequence[str],
    keep: Callable[[Sequence[str]], list[str]] = list,
) -> PhraseBook:
    """Collect the training phrases and the probability of each.

    Half of the draws are names (classes of the teachers, labels of the clips), three tenths are phrases with which
    people describe music, the others are single words of captions and of the whole vocabulary.

    Args:
        corpus: source of aspects and caption words.
        word_vectors: their vocabulary decides which phrases are used.
        names: class names of the teachers.
        extra: labels of the training clips.
        keep: returns the allowed ones of some phrases.
    """
    vocabulary = word_vectors.vocabulary
    groups: list[tuple[float, list[str]]] = [
        (0.5, [*names, *extra]),
        (0.3, [a for a, n in corpus.aspects.items() if n >= 2]),
        (0.15, [w for w, n in corpus.caption_words.items() if n >= 5]),
        (0.05, [t.replace("_", " ") for t in vocabulary.tokens[2:]]),
    ]
    phrases: dict[str, float] = {}
    for share, group in groups:
        known = keep([p for p in dict.fromkeys(group) if vocabulary.split(p)[0]])
        for phrase in known:
            phrases[phrase] = phrases.get(phrase, 0.0) + share / len(known)
    listed = list(phrases)
    share_of = np.array([phrases[p] for p in listed])
    return PhraseBook(listed, word_vectors.encode(listed), share_of / share_of.sum())
